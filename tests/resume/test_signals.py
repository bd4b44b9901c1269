"""What becomes of `prefix-rft train` when it is asked to stop, or when one of its processes is killed."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run_folder import fault_of, has_ended, last_checkpoint
from prefix_rft_trl.stopping import StopOnSignal


LAB = Path(__file__).parents[2] / "recipes" / "lab"
MANY_STEPS = "100000"
SMALL = [
    "--num_generations", "4", "--per_device_train_batch_size", "8", "--max_completion_length", "20",
    "--logging_steps", "1", "--measure_steps", "0",
]  # fmt: skip


class Run:
    """A command and what it has printed so far."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log = process, log

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_until(self, is_reached: Callable[[], object], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not is_reached():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.05)

    def exit_code(self, seconds: float = 60) -> int:
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None


@contextmanager
def started(folder: Path, *arguments: object) -> Iterator[Run]:
    folder.mkdir(exist_ok=True)
    log = folder / f"log-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "prefix_rft_trl.cli.main", "train", *map(str, arguments)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)
    try:
        yield Run(process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def has_trained(run: Run) -> Callable[[], bool]:
    return lambda: run.text.count("'loss'") >= 2


@pytest.fixture
def stopped_at_step_three(tmp_path, monkeypatch) -> Callable[..., int]:
    """Runs the command in this process, which is sent a signal in its third step."""
    (tmp_path / "rewards_that_stop.py").write_text(
        "import os, signal\n"
        "batches = []\n"
        "def length(completions, **kwargs):\n"
        "    batches.append(len(completions))\n"
        "    if len(batches) == 3 and 'SENT' in os.environ:\n"
        "        signal.raise_signal(int(os.environ['SENT']))\n"
        "    return [len(text) / 20 for text in completions]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def train(*arguments: object, sent: signal.Signals | None = None) -> int:
        sys.modules.pop("rewards_that_stop", None)
        if sent is None:
            monkeypatch.delenv("SENT", raising=False)
        else:
            monkeypatch.setenv("SENT", str(int(sent)))
        line = ["train", "--reward_funcs", "rewards_that_stop.length", "--save_strategy", "no", *SMALL]
        return main([*line, "--output_dir", str(tmp_path / "model"), *map(str, arguments)])

    return train


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_stop_saves_a_checkpoint_from_which_it_ends_like_any(
    stopped_at_step_three, tmp_path, capfd, sent, code
):
    line, model = ["--config", LAB / "prefix_rft.yaml", "--max_steps", "5"], tmp_path / "model"
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert stopped_at_step_three(*line, sent=sent) == code
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert last_checkpoint(model) == str(model / "checkpoint-3")
    printed = capfd.readouterr()
    assert "Stopped at step 3 of 5, with a checkpoint" in printed.out
    assert f"{sent.name}: stopping after this step" in printed.err
    assert not (model / "trainer_state.json").exists(), "it is not taken for a run that has ended"
    assert not (model / "model.safetensors").exists()

    assert stopped_at_step_three(*line, "--resume_from_checkpoint", "last") == 0
    assert has_ended(model)
    assert stopped_at_step_three(*line, "--output_dir", tmp_path / "unbroken") == 0
    resumed, unbroken = (load_file(folder / "model.safetensors") for folder in (model, tmp_path / "unbroken"))
    assert all(torch.equal(weight, unbroken[name]) for name, weight in resumed.items())


def test_a_run_that_is_asked_to_stop_in_its_last_step_has_ended(stopped_at_step_three, tmp_path):
    line = ["--config", LAB / "prefix_rft.yaml", "--max_steps", "3"]
    assert stopped_at_step_three(*line, sent=signal.SIGINT) == 0
    assert has_ended(tmp_path / "model")


def test_a_recipe_of_stages_that_is_asked_to_stop_does_not_start_the_next_one(stopped_at_step_three, tmp_path):
    recipe = {
        "model_name_or_path": "lab", "dataset_name": "lab", "use_cpu": True, "bf16": False, "max_steps": 5,
        "stages": {"first": {"learning_rate": 1e-4}, "second": {}},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    line = ["--config", tmp_path / "recipe.yaml", "--report_to", "none"]
    assert stopped_at_step_three(*line, sent=signal.SIGTERM) == 0
    assert last_checkpoint(tmp_path / "model" / "first") is not None
    assert not (tmp_path / "model" / "config.json").exists()


def test_a_second_signal_is_not_waited_for():
    with StopOnSignal(Accelerator(cpu=True)):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_under_a_launcher_which_passes_signals_on_a_second_one_changes_nothing(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with StopOnSignal(Accelerator(cpu=True)) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert stop.signal == 0, "that is decided at the end of a step"


def test_two_processes_stop_together_and_end_together(tmp_path):
    accelerate_config = tmp_path / "two_cpus.yaml"
    of_machine = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0}
    two_cpus = {**of_machine, "distributed_type": "MULTI_GPU", "use_cpu": True, "mixed_precision": "no"}
    accelerate_config.write_text(yaml.safe_dump(two_cpus))
    line = [
        "--config", LAB / "prefix_rft.yaml", *SMALL, "--output_dir", tmp_path / "model", "--max_steps", MANY_STEPS,
        "--accelerate_config", accelerate_config, "--num_processes", "2", "--main_process_port", "0",
    ]  # fmt: skip
    with started(tmp_path, *line) as run:
        run.wait_until(has_trained(run))
        run.process.send_signal(signal.SIGTERM)  # as Slurm does: the launcher tells the processes
        assert run.exit_code() == 0, run.text
    checkpoint = last_checkpoint(tmp_path / "model")
    assert checkpoint is not None, run.text
    assert {"place_in_run_0.pt", "place_in_run_1.pt"} <= {path.name for path in Path(checkpoint).iterdir()}

    with started(tmp_path, *line, "--resume_from_checkpoint", "last", "--save_steps", "1", "--save_strategy", "steps",
                 "--save_total_limit", "4") as run:  # fmt: skip
        run.wait_until(has_trained(run))
        os.kill(process_of_rank(run, 1), signal.SIGKILL)
        killed = time.monotonic()
        assert run.exit_code() == 1, run.text
        assert time.monotonic() - killed < 45
    assert f"Going on from {checkpoint}" in run.text
    assert "process 1 was ended by SIGKILL" in run.text
    assert "--resume_from_checkpoint last" in run.text
    last = last_checkpoint(tmp_path / "model")
    assert last is not None
    assert fault_of(Path(last)) is None


def process_of_rank(run: Run, rank: int) -> int:
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    ranks = {}
    for child in map(int, children):
        found = re.search(rb"(?:^|\0)RANK=(\d+)", Path(f"/proc/{child}/environ").read_bytes())
        if found:
            ranks[int(found[1])] = child
    return ranks[rank]
