"""Started by the tests: an evaluation of the lab's base model that is killed before it may end, until it ends.

    python kill_evaluation.py FOLDER PROCESSES

Each is a process forked from this one, which has imported everything: a start takes no time. It prints, as JSON, which
files of samples were there after each kill, and how many processes of the evaluation have outlived it.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path


PROBLEMS, SAMPLES, BATCH = 6, 64, 4
CHUNKS = PROBLEMS * SAMPLES // BATCH
KILLED_AT = (0, CHUNKS // 6, CHUNKS // 3)  # files of samples: when it has begun, and twice in the middle
DEADLINE = 100  # seconds for an evaluation to come so far, and for its processes to end


def arguments(output_dir: Path, processes: int = 1) -> list[str]:
    return [
        "eval", "--model", "lab", "--benchmarks", "lab", "--backend", "transformers",
        "--num_problems", str(PROBLEMS), "--num_samples", str(SAMPLES), "--batch_size", str(BATCH),
        "--data_parallel_size", str(processes), "--output_dir", str(output_dir),
    ]  # fmt: skip


def start(output_dir: Path, processes: int) -> int:
    from prefix_rft_trl.cli.main import main

    process = os.fork()
    if process:
        return process
    code = 1
    try:
        log = os.open(f"{output_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        code = main(arguments(output_dir, processes))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def files_of(output_dir: Path) -> dict[str, int]:
    """Of samples, by when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in output_dir.glob("base/lab/samples-*.parquet")}


def has_come_to(output_dir: Path, number: int, process: int, processes: int) -> bool:
    import psutil

    is_there = processes == 1 or psutil.Process(process).children()
    return bool(is_there) and (output_dir / "base" / "lab").exists() and len(files_of(output_dir)) >= number


def kill_at(output_dir: Path, processes: int, number: int) -> dict:
    import psutil

    process, end = start(output_dir, processes), time.monotonic() + DEADLINE
    while not has_come_to(output_dir, number, process, processes) and time.monotonic() < end:
        time.sleep(0.002)
    workers = psutil.Process(process).children(recursive=True)
    os.kill(process, signal.SIGKILL)
    code = exit_code(process)
    if code != -signal.SIGKILL:
        sys.exit(f"the evaluation ended by itself with {code}:\n{Path(f'{output_dir}.log').read_text()}")
    _, left = psutil.wait_procs(workers, timeout=DEADLINE)
    for worker in left:
        worker.kill()
    return {"workers": len(workers), "left": len(left), "files": files_of(output_dir)}


def killed(output_dir: Path, processes: int) -> dict:
    kills = [kill_at(output_dir, processes, number) for number in KILLED_AT]
    return {"kills": kills, "code": exit_code(start(output_dir, processes)), "files": files_of(output_dir)}


if __name__ == "__main__":
    import datasets  # noqa: F401
    import torch
    import transformers.models.qwen2  # noqa: F401

    import prefix_rft_trl.cli.eval
    import prefix_rft_trl.evaluation.samplers  # noqa: F401

    torch.set_num_threads(1)
    print(json.dumps(killed(Path(sys.argv[1]), int(sys.argv[2]))))
