"""Commands in one folder at the same time, and commands that are killed: the folders and processes that are left."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
import yaml

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import is_finished, last_checkpoint, read_curve
from prefix_rft_trl.utils.files import InUseError, exclusive_lock
from prefix_rft_trl.utils.recipe_files import FOLDER


LAB = str(FOLDER / "lab" / "prefix_rft.yaml")
ENDLESS = [
    "--max_steps", "100000", "--num_generations", "4", "--per_device_train_batch_size", "8", "--logging_steps", "1",
    "--max_completion_length", "20", "--measure_steps", "0",
]  # fmt: skip
DEADLINE = 120  # seconds for a command to come so far


def wait_until(is_so: Callable[[], object], command: psutil.Popen | None = None, log: Path | None = None) -> None:
    end = time.monotonic() + DEADLINE
    while not is_so():
        output = log.read_text() if log is not None else ""
        assert command is None or command.poll() is None, f"it has ended: {output}"
        assert time.monotonic() < end, f"it has not come so far: {output}"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., psutil.Popen]]:
    """Starts a command, whose output is the file `log` of the test's folder; in the end kills all that it started."""
    started: list[psutil.Process] = []

    def run(*arguments: object) -> psutil.Popen:
        command = [sys.executable, "-m", "prefix_rft_trl.cli.main", *map(str, arguments)]
        with (tmp_path / "log").open("w") as log:
            process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.is_running():
            started.extend(process.children(recursive=True))
    for process in started:
        if process.is_running():
            process.kill()


def test_second_run_is_refused_and_ranks_end_with_their_launcher(tmp_path, start, refusal, still_running):
    config = {
        "compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0, "distributed_type": "MULTI_GPU",
        "use_cpu": True, "mixed_precision": "no",
    }  # fmt: skip
    (tmp_path / "two_cpus.yaml").write_text(yaml.safe_dump(config))
    line = ["train", "--config", LAB, *ENDLESS, "--output_dir", tmp_path / "run"]
    launched = ["--accelerate_config", tmp_path / "two_cpus.yaml", "--num_processes", "2", "--main_process_port", "0"]
    log = tmp_path / "log"
    launcher = start(*line, *launched)
    wait_until(lambda: " loss=" in log.read_text(), launcher, log)
    before = sorted((tmp_path / "run").iterdir())
    said = refusal(*line, *launched)
    assert said.startswith(f"prefix-rft train: Another command is writing into {tmp_path / 'run'} (process ")
    assert said.count("\n") == 1
    assert "Resuming" not in refusal(*line, "--resume_from_checkpoint", "last")
    assert sorted((tmp_path / "run").iterdir()) == before

    ranks = [child for child in launcher.children() if child.environ().get("RANK")]
    descendants = launcher.children(recursive=True)
    assert len(ranks) == 2
    ranks[1].suspend()  # so that it outlives the launcher
    launcher.kill()
    try:
        assert still_running(set(descendants) - {ranks[1]}) == []
        with pytest.raises(InUseError, match=rf"process {ranks[1].pid}\)"), exclusive_lock(tmp_path / "run"):
            pass
    finally:
        ranks[1].resume()
    assert still_running([ranks[1]]) == []
    with exclusive_lock(tmp_path / "run"):
        pass


def test_run_whose_terminal_is_closed_saves_a_checkpoint(tmp_path):
    process, terminal = pty.fork()
    if process == 0:
        command = [sys.executable, "-m", "prefix_rft_trl.cli.main", "train", "--config", LAB, *ENDLESS]
        os.execv(sys.executable, [*command, "--output_dir", str(tmp_path / "run")])
    output = b""
    while b" loss=" not in output:
        output += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert last_checkpoint(tmp_path / "run") is not None
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_to_the_quickstart_ends_its_runs(tmp_path, start, still_running, number):
    lab = start("lab", "--output_dir", tmp_path / "lab")
    wait_until(lambda: len(lab.children()) == 2, lab, tmp_path / "log")
    children = lab.children(recursive=True)
    lab.send_signal(number)
    assert lab.wait(timeout=60) == 128 + number
    assert still_running(children) == []


def test_quickstart_after_a_killed_one_has_its_own_results(tmp_path, start, still_running):
    line = ["lab", "--steps", "10", "--output_dir", tmp_path / "lab"]
    killed = start(*line)
    runs = [tmp_path / "lab" / method for method in ("prefix_rft", "grpo")]
    wait_until(lambda: all(read_curve(run) for run in runs), killed, tmp_path / "log")
    children = killed.children(recursive=True)
    killed.kill()
    again = start(*line)
    assert still_running(children) == []
    assert again.wait(timeout=DEADLINE) == 0, (tmp_path / "log").read_text()
    results = json.loads((tmp_path / "lab" / "results.json").read_text())
    for run in runs:
        curve = read_curve(run)
        assert [line["step"] for line in curve] == [0, 10]
        assert results[run.name]["accuracy"] == curve[-1]["accuracy"]
        assert is_finished(run)
    assert not list((tmp_path / "lab").rglob(".*"))


@pytest.fixture
def interrupted_conversion(tmp_path) -> Callable[[signal.Signals], int]:
    """Sends a signal to a conversion in the middle of it; returns its exit code."""
    rows = [{"prompt": f"What is {number} + 1?", "completion": f"It is {number + 1}.", "solution": str(number + 1)}
            for number in range(20_000)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    forks = get_context("forkserver")  # forked from a process which has imported everything: a start takes no time
    forks.set_forkserver_preload(["prefix_rft_trl.cli.data", "datasets", "prefix_rft_trl.data.convert.conversion"])
    line = ["data", "columns", "--input", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "made.parquet")]

    def convert(number: signal.Signals) -> int:
        process = forks.Process(target=main, args=[line])
        process.start()
        wait_until(lambda: list(tmp_path.glob(".made.parquet.partial-*/.conversion-*/*.arrow")))
        os.kill(process.pid, number)
        process.join()
        return process.exitcode

    return convert


def test_interrupted_conversion_leaves_nothing_and_what_a_killed_one_leaves_goes(tmp_path, interrupted_conversion):
    for number in (signal.SIGTERM, signal.SIGHUP):
        assert interrupted_conversion(number) == 128 + number
        assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    assert interrupted_conversion(signal.SIGKILL) == -signal.SIGKILL
    assert list(tmp_path.glob(".made.parquet.*"))
    (tmp_path / "few.jsonl").write_text((tmp_path / "rows.jsonl").read_text()[:1000].rpartition("\n")[0])
    made = tmp_path / "made_of_few.jsonl"
    assert main(["data", "columns", "--input", str(tmp_path / "few.jsonl"), "--output", str(made)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.jsonl", made.name, "rows.jsonl"]


def test_second_conversion_to_a_file_is_refused(tmp_path, refusal):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    line = ["data", "columns", "--input", tmp_path / "rows.jsonl", "--output", tmp_path / "made.parquet"]
    with exclusive_lock(tmp_path / ".made.parquet.partial-lock"):
        assert f"Another command is writing into {tmp_path / 'made.parquet'}" in refusal(*line)


def test_generation_of_a_task_ends_with_its_killed_run(tmp_path, start, still_running):
    pytest.importorskip("reasoning_gym")
    task = ["--dataset_name", "reasoning_gym/count_bits", "--reasoning_gym", '{"size": 10000000}']
    line = ["train", "--config", LAB, *ENDLESS, "--reward_funcs", "reasoning_gym_score", "--reward_weights", "1.0"]
    run = start(*line, *task, "--output_dir", tmp_path / "run")
    wait_until(run.children, run, tmp_path / "log")
    workers = run.children()
    wait_until(lambda: sum(worker.cpu_times().user for worker in workers) > 1, run, tmp_path / "log")
    run.kill()
    assert still_running(workers) == []
