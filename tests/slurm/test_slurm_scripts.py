"""The scripts of recipes/slurm, run with stand-ins for Slurm, vLLM and `prefix-rft`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).with_name("stand_ins.py")
RECIPE = "recipes/gsm8k/prefix_rft.yaml"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


class Job:
    """A running script, and the calls that its stand-ins have recorded."""

    def __init__(self, folder: Path, script: str, behaviour: str, line: list[str], **environment: str):
        programs = folder / "bin"
        programs.mkdir()
        for name in ("srun", "scancel", "scontrol", "curl", "vllm", "prefix-rft", "sleep"):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_INS} {name} "$@"\n')
            program.chmod(0o755)
        self.folder = folder
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1,n2,n3", "SLURM_GPUS_ON_NODE": "4"}
        stand_ins = {"PATH": path, "STATE": str(folder), "BEHAVIOUR": behaviour}
        self.process = subprocess.Popen(
            ["bash", str(ROOT / "recipes" / "slurm" / f"{script}.slurm"), *line],
            env={**os.environ, **slurm, **stand_ins, **environment}, cwd=ROOT, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def events(self, name: str | None = None) -> list[dict]:
        file = self.folder / "events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if name in (None, event["event"])]

    def wait_for(self, name: str, number: int) -> None:
        end = time.monotonic() + 60
        while len(self.events(name)) < number:
            assert time.monotonic() < end, self.events()
            assert self.process.poll() is None, self.events()
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        output = self.process.communicate(timeout=60)[0]
        return self.process.returncode, output


@pytest.fixture
def submit(tmp_path):
    jobs: list[Job] = []

    def start(script: str, behaviour: str, *settings: str, recipe: str = RECIPE, **environment: str) -> Job:
        line = [recipe, "--learning_rate", "5e-7", *settings]
        jobs.append(Job(tmp_path, script, behaviour, line, **environment))
        return jobs[-1]

    yield start
    for job in jobs:
        steps = [pid for step in job.folder.glob("step-*") for pid in json.loads(step.read_text())]
        for process in (job.process.pid, *steps):
            try:
                os.killpg(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        job.process.wait()


Submit = Callable[..., Job]


def requeued(job: Job) -> bool:
    return any("requeue" in event["arguments"] for event in job.events("scontrol"))


@pytest.mark.parametrize("script", ["one_node", "vllm_server"])
def test_a_script_is_valid_needs_a_recipe_and_gets_a_signal_in_time_for_a_checkpoint(script):
    path = ROOT / "recipes" / "slurm" / f"{script}.slurm"
    subprocess.run(["bash", "-n", str(path)], check=True)
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "a recipe is missing" in done.stderr
    first, *lines = path.read_text().splitlines()
    assert first == "#!/bin/bash"
    settings = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}
    assert settings >= {"--signal=B:USR1@600", "--requeue", "--open-mode=append"}


def test_training_starts_when_the_server_is_ready_and_gets_its_address(submit: Submit):
    job = submit("vllm_server", "ends", SLURM_CPUS_PER_TASK="64")
    assert job.end()[0] == 0
    order = [event["event"] for event in job.events() if event["event"] in ("vllm", "prefix-rft")]
    assert order == ["vllm", "prefix-rft", "prefix-rft"]
    server, training = job.events("srun")
    assert server["cpus"] == training["cpus"] == "64"
    assert (server["options"]["nodelist"], training["options"]["nodelist"]) == ("n3", "n1,n2")
    checks = job.events("curl")
    assert {event["url"] for event in checks} == {"http://n3:8000/health"}
    assert [event["ready"] for event in checks] == [False] * (len(checks) - 1) + [True]
    assert len(checks) > 1
    vllm = job.events("vllm")[0]
    assert vllm["dev_mode"] == "1"
    assert vllm["arguments"] == [
        "serve", MODEL, "--host", "n3", "--port", "8000", "--middleware",
        "prefix_rft_trl.sampling.server_key.RequireKey", "--weight-transfer-config", '{"backend": "nccl"}',
        "--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1", "--data-parallel-size", "4",
    ]  # fmt: skip
    assert re.fullmatch(r"[0-9a-f]{64}", vllm["key"])
    assert {event["key"] for event in job.events("prefix-rft")} == {vllm["key"]}
    assert not any(vllm["key"] in json.dumps(event["command"]) for event in job.events("srun"))
    ranks = sorted(event["arguments"][-1] for event in job.events("prefix-rft"))
    assert ranks == ["0", "1"]
    for event in job.events("prefix-rft"):
        assert event["arguments"][:-1] == [
            "train", "--config", RECIPE, "--accelerate_config", "recipes/accelerate/zero2.yaml",
            "--num_machines", "2", "--num_processes", "8", "--main_process_ip", "n1", "--main_process_port", "29500",
            "--use_vllm", "true", "--vllm_mode", "server", "--vllm_server_host", "n3", "--vllm_server_port", "8000",
            "--resume_from_checkpoint", "last", "--learning_rate", "5e-7", "--machine_rank",
        ]  # fmt: skip


def test_model_server_flags_and_sharding_can_be_set(submit: Submit):
    other = ("--model_name_or_path", "a/model")
    set_before = {"SERVER_ADDRESS": "10.0.0.3", "VLLM_API_KEY": "mine"}
    job = submit("vllm_server", "ends", *other, VLLM_FLAGS="--tensor-parallel-size 8", SHARDING="zero3", **set_before)
    assert job.end()[0] == 0
    served = job.events("vllm")[0]["arguments"]
    assert (job.events("vllm")[0]["key"], served[3]) == ("mine", "10.0.0.3")
    assert {event["url"] for event in job.events("curl")} == {"http://10.0.0.3:8000/health"}
    assert (served[1], served[-2:]) == ("a/model", ["--tensor-parallel-size", "8"])
    trained = job.events("prefix-rft")[0]["arguments"]
    assert trained[-4:-2] == list(other)
    assert "recipes/accelerate/zero3.yaml" in trained


def test_a_recipe_without_a_model_is_refused(submit: Submit, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("learning_rate: 1.0e-6\n")
    job = submit("vllm_server", "ends", recipe=str(recipe))
    code, output = job.end()
    assert code == 2
    assert "names no model: add `--model_name_or_path NAME`" in output
    assert job.events("srun") == []


@pytest.mark.parametrize(
    ("behaviour", "environment", "code", "message", "steps", "trained", "killed"),
    [
        ("fails", {}, 5, "", 2, 2, [0]),
        ("dies", {}, 1, "ended before it was ready", 1, 0, []),
        ("leaves", {}, 1, "ended while the run was training", 2, 2, [1]),
        ("ends", {"SLURM_JOB_NODELIST": "n1"}, 2, "one_node.slurm", 0, 0, []),  # no node for the server
    ],
)
def test_a_failed_training_or_server_ends_the_other_and_fails_the_job(
    submit: Submit, behaviour, environment, code, message, steps, trained, killed
):
    job = submit("vllm_server", behaviour, **environment)
    found, output = job.end()
    assert found == code
    assert message in output
    assert (len(job.events("srun")), len(job.events("prefix-rft"))) == (steps, trained)
    assert [event["step"] for event in job.events("killed")] == killed
    assert not requeued(job)


def test_waiting_for_the_server_times_out(submit: Submit):
    job = submit("vllm_server", "loads", SERVER_TIMEOUT="0")
    code, output = job.end()
    assert code == 1
    assert "not ready after 0 s" in output
    assert job.events("prefix-rft") == []


@pytest.mark.parametrize(("script", "step", "processes"), [("one_node", 0, 1), ("vllm_server", 1, 2)])
def test_before_the_time_limit_the_training_saves_and_the_job_is_requeued(submit: Submit, script, step, processes):
    job = submit(script, "trains")
    job.wait_for("prefix-rft", processes)
    os.kill(job.process.pid, signal.SIGUSR1)
    assert job.end()[0] == 0
    assert job.events("scancel") == [{"event": "scancel", "signal": "TERM", "job": "7", "step": step}]
    assert len(job.events("saved")) == processes
    assert job.events()[-1] == {"event": "scontrol", "arguments": ["requeue", "7"]}
    # The server ends after the checkpoint is saved, as the running step needs it
    assert [event["step"] for event in job.events("killed")] == ([0] if script == "vllm_server" else [])
    assert all(place["event"] != "killed" for place in job.events()[: job.events().index(job.events("saved")[-1])])


@pytest.mark.parametrize(("behaviour", "sent", "code"), [("cannot save", "USR1", 1), ("trains", "TERM", 0)])
@pytest.mark.parametrize(("script", "processes"), [("one_node", 1), ("vllm_server", 2)])
def test_a_job_that_could_not_save_or_was_cancelled_is_not_requeued(
    submit: Submit, script, processes, behaviour, sent, code
):
    job = submit(script, behaviour)
    job.wait_for("prefix-rft", processes)
    os.kill(job.process.pid, signal.Signals[f"SIG{sent}"])
    assert job.end()[0] == code
    assert bool(job.events("saved")) == (code == 0)
    assert not requeued(job)


def test_a_job_whose_server_is_not_ready_before_the_time_limit_is_requeued(submit: Submit):
    job = submit("vllm_server", "loads")
    job.wait_for("curl", 1)
    os.kill(job.process.pid, signal.SIGUSR1)
    assert job.end()[0] == 1
    assert job.events("prefix-rft") == []
    assert job.events()[-1] == {"event": "scontrol", "arguments": ["requeue", "7"]}


def test_one_node_trains_on_its_gpus_and_resumes(submit: Submit):
    job = submit("one_node", "ends", SHARDING="fsdp2", SLURM_CPUS_PER_TASK="64")
    assert job.end()[0] == 0
    assert [event["cpus"] for event in job.events("srun")] == ["64"]
    assert job.events("prefix-rft")[0]["arguments"] == [
        "train", "--config", RECIPE, "--accelerate_config", "recipes/accelerate/fsdp2.yaml", "--num_processes", "4",
        "--resume_from_checkpoint", "last", "--learning_rate", "5e-7",
    ]  # fmt: skip
