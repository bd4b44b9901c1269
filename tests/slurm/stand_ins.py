"""Stand-in for Slurm, vLLM and `prefix-rft`, by the name under which it is called; it records the calls.

BEHAVIOUR of the server: `dies` (at once), `loads` (for ever), `leaves` (during training); of the training: `fails`,
`ends`, `trains` (until it is stopped), `cannot save` (when it is stopped).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


STATE = Path(os.environ["STATE"])
BEHAVIOUR = os.environ["BEHAVIOUR"]


def note(event: str, **what) -> None:
    with (STATE / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": event, **what}) + "\n")


def srun(arguments: list[str]) -> int:
    place = next(place for place, argument in enumerate(arguments) if not argument.startswith("--"))
    options = dict(argument.removeprefix("--").split("=", 1) for argument in arguments[:place])
    tasks, command = int(options.get("ntasks", 1)), arguments[place:]
    step = len(list(STATE.glob("step-*")))
    processes: list[subprocess.Popen] = []
    signals: list[int] = []

    def kill(number: int, *_) -> None:  # what srun does when it is sent SIGTERM
        signals.append(number)
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, kill)
    for rank in range(tasks):
        environment = {**os.environ, "SLURM_PROCID": str(rank)}
        processes.append(subprocess.Popen(command, env=environment, start_new_session=True))
    if signals:  # while they were started
        kill(signal.SIGTERM)
    (STATE / f"step-{step}").write_text(json.dumps([process.pid for process in processes]))
    note("srun", step=step, options=options, command=command, cpus=os.environ.get("SRUN_CPUS_PER_TASK"))
    codes = [abs(process.wait()) for process in processes]
    if signals:
        note("killed", step=step)
    return max(codes)


def scancel(arguments: list[str]) -> int:
    name, job, step = arguments[0].removeprefix("--signal="), *arguments[1].split(".")
    note("scancel", signal=name, job=job, step=int(step))
    for process in json.loads((STATE / f"step-{step}").read_text()):
        os.kill(process, getattr(signal, f"SIG{name}"))
    return 0


def scontrol(arguments: list[str]) -> int:
    note("scontrol", arguments=arguments)
    if arguments[:2] == ["show", "hostnames"]:
        print(arguments[2].replace(",", "\n"))
    return 0


def curl(arguments: list[str]) -> int:
    ready = (STATE / "ready").exists()
    note("curl", url=arguments[-1], ready=ready)
    return 0 if ready else 22


def vllm(arguments: list[str]) -> int:
    key = os.environ.get("VLLM_API_KEY")
    note("vllm", arguments=arguments, dev_mode=os.environ.get("VLLM_SERVER_DEV_MODE"), key=key)
    if BEHAVIOUR == "dies":
        return 3
    if BEHAVIOUR == "loads":
        wait_for(lambda: False)
    time.sleep(0.5)
    (STATE / "ready").touch()
    wait_for(lambda: BEHAVIOUR == "leaves" and (STATE / "trains").exists())
    return 4


def prefix_rft(arguments: list[str]) -> int:
    if arguments[0] == "recipes":  # makes the model
        return subprocess.run([sys.executable, "-m", "prefix_rft_trl.cli.main", *arguments]).returncode
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    note("prefix-rft", arguments=arguments, key=os.environ.get("VLLM_API_KEY"))
    (STATE / "trains").touch()
    if BEHAVIOUR in ("ends", "fails"):
        return {"ends": 0, "fails": 5}[BEHAVIOUR]
    wait_for(lambda: bool(stopped))
    if BEHAVIOUR == "cannot save":
        return 1
    note("saved")
    return 0


def wait_for(happened) -> None:
    end = time.monotonic() + 60
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)


def sleep(arguments: list[str]) -> int:
    time.sleep(0.2)
    return 0


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    sys.exit(globals()[name.replace("-", "_")](arguments))
