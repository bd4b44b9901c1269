"""`prefix-rft train` after a signal, and after one of its processes was killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml
from accelerate import Accelerator

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run import StopOnSignal, is_finished, last_checkpoint
from prefix_rft_trl.run.folder import why_incomplete


LAB = Path(__file__).parents[2] / "recipes" / "lab"
MANY_STEPS = "100000"
SMALL = [
    "--num_generations", "4", "--per_device_train_batch_size", "8", "--max_completion_length", "20",
    "--logging_steps", "1", "--measure_steps", "0",
]  # fmt: skip


class Run:
    """A command and its output so far."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log = process, log

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def wait_until_trained(self) -> None:
        end = time.monotonic() + 120
        while self.text.count(" loss=") < 2:
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
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()  # a launcher starts them in sessions of their own
            process.kill()
            process.wait()


@pytest.fixture
def train_until_signal(tmp_path, monkeypatch) -> Callable[..., int]:
    """Runs the command in this process, which gets a signal while it scores its third generation batch."""
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


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_stopped_run_resumes_to_the_weights_of_an_unbroken_one(
    train_until_signal, assert_same_weights, tmp_path, capfd, sent, code
):
    line, model = ["--config", LAB / "prefix_rft.yaml", "--max_steps", "5"], tmp_path / "model"
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert train_until_signal(*line, sent=sent) == code
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert last_checkpoint(model) == str(model / "checkpoint-3")
    printed = capfd.readouterr()
    assert "Stopped at step 3 of 5" in printed.out
    assert str(model / "checkpoint-3") in printed.out
    assert f"{sent.name}: stopping after this step" in printed.err
    assert not (model / "trainer_state.json").exists(), "the run would count as finished"
    assert not (model / "model.safetensors").exists()
    assert train_until_signal(*line) == 2
    assert f"{model} holds this run, and it is not finished. `--resume_from_checkpoint last`" in capfd.readouterr().err

    assert train_until_signal(*line, "--resume_from_checkpoint", "last") == 0
    assert is_finished(model)
    assert train_until_signal(*line, "--output_dir", tmp_path / "unbroken") == 0
    assert_same_weights(model, tmp_path / "unbroken")


def test_signal_in_the_last_step_leaves_a_finished_run(train_until_signal, tmp_path):
    line = ["--config", LAB / "prefix_rft.yaml", "--max_steps", "3"]
    assert train_until_signal(*line, sent=signal.SIGINT) == 0
    assert is_finished(tmp_path / "model")


def test_stopped_stage_does_not_start_the_next_one(train_until_signal, tmp_path):
    recipe = {
        "model_name_or_path": "lab", "dataset_name": "lab", "use_cpu": True, "bf16": False, "max_steps": 5,
        "stages": {"first": {"learning_rate": 1e-4}, "second": {}},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    line = ["--config", tmp_path / "recipe.yaml", "--report_to", "none"]
    assert train_until_signal(*line, sent=signal.SIGTERM) == 0
    assert last_checkpoint(tmp_path / "model" / "first") is not None
    assert not (tmp_path / "model" / "config.json").exists()


@pytest.fixture
def stop() -> StopOnSignal:
    """Stops what is a trainer as far as signals need it."""
    return StopOnSignal(SimpleNamespace(accelerator=Accelerator(cpu=True), add_callback=lambda callback: None))


@pytest.fixture
def in_the_foreground():
    """Handles SIGINT as in a foreground process: in the background it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_interrupt_ends_at_once(in_the_foreground, stop):
    with stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_hangup_stays_ignored_under_nohup(stop):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop._received == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)


def test_scheduler_may_send_sigterm_twice(stop):
    with stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert stop.signal == 0, "a step ends before it stops"


def test_second_interrupt_changes_nothing_under_a_launcher(monkeypatch, capfd, stop):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert "at once" not in capfd.readouterr().err


def test_forked_worker_ends_on_a_signal_as_any_process(stop):
    with stop:
        child = os.fork()
        if child == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_opening_in_another_thread_is_refused(stop):
    with ThreadPoolExecutor(1) as thread, pytest.raises(RuntimeError, match="main thread"):
        thread.submit(stop.__enter__).result()


def test_single_launched_process_is_not_left_behind(tmp_path):
    line = ["--config", LAB / "prefix_rft.yaml", *SMALL, "--output_dir", tmp_path / "model", "--num_processes", "1"]
    with started(tmp_path, *line, "--max_steps", MANY_STEPS) as run:
        run.wait_until_trained()
        child = run.children[0]
        run.process.send_signal(signal.SIGTERM)
        assert run.exit_code() == 0, run.text
    assert not child.is_running()
    assert last_checkpoint(tmp_path / "model") is not None


def test_two_processes_stop_and_fail_together(tmp_path, train_until_signal):
    one_process = ["--config", LAB / "prefix_rft.yaml", "--steps_per_generation", "2", "--max_steps", "9"]
    assert train_until_signal(*one_process, sent=signal.SIGTERM) == 0
    in_a_batch = tmp_path / "model" / "checkpoint-5"  # the first step of the third generation batch
    accelerate_config = tmp_path / "two_cpus.yaml"
    one_machine = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0}
    two_cpus = {**one_machine, "distributed_type": "MULTI_GPU", "use_cpu": True, "mixed_precision": "no"}
    accelerate_config.write_text(yaml.safe_dump(two_cpus))
    line = [
        "--config", LAB / "prefix_rft.yaml", *SMALL, "--output_dir", tmp_path / "model", "--max_steps", MANY_STEPS,
        "--accelerate_config", accelerate_config, "--num_processes", "2", "--main_process_port", "0",
    ]  # fmt: skip
    with started(tmp_path, *line, "--resume_from_checkpoint", "last") as run:
        run.wait_until_trained()
        assert f"Resuming from {in_a_batch}" in run.text
        assert "The rest of its generation batch is sampled again" in run.text
        run.process.send_signal(signal.SIGTERM)  # as Slurm does: the launcher passes it to the processes
        assert run.exit_code() == 0, run.text
    checkpoint = last_checkpoint(tmp_path / "model")
    assert checkpoint is not None, run.text
    assert {"place_in_run_0.pt", "place_in_run_1.pt"} <= {path.name for path in Path(checkpoint).iterdir()}

    with started(tmp_path, *line, "--resume_from_checkpoint", "last", "--save_steps", "1", "--save_strategy", "steps",
                 "--save_total_limit", "4") as run:  # fmt: skip
        run.wait_until_trained()
        next(child for child in run.children if child.environ().get("RANK") == "1").kill()
        killed = time.monotonic()
        assert run.exit_code(seconds=120) == 1, run.text
        assert time.monotonic() - killed < 90  # torch waits 30 s for the others
    assert f"Resuming from {checkpoint}" in run.text
    assert "process 1 was ended by SIGKILL" in run.text
    assert "--resume_from_checkpoint last" in run.text
    last = last_checkpoint(tmp_path / "model")
    assert last is not None
    assert why_incomplete(Path(last)) is None
