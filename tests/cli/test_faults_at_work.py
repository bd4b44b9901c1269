"""A full disk, an interruption and missing shared memory, in the commands that meet them."""

import errno
import json
import os
from importlib import import_module

import pytest
from safetensors import SafetensorError
from transformers import Trainer

from prefix_rft_trl.cli.main import COMMANDS, main
from prefix_rft_trl.evaluation.eval_benchmarks import _load_verifier


SMALL = [
    "--config", "lab/prefix_rft", "--max_steps", "1", "--per_device_train_batch_size", "8", "--num_generations", "8",
    "--gradient_accumulation_steps", "1", "--max_completion_length", "16", "--measure_rows", "8",
]  # fmt: skip
EVAL = ["eval", "--model", "lab", "--benchmarks", "lab", "--num_problems", "2", "--output_dir", "out"]


@pytest.fixture(autouse=True)
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "3+4=", "completion": "3+4=7;#7", "solution": "7"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")


@pytest.mark.parametrize(
    ("line", "file"),
    [
        (["data", "columns", "--input", "rows.jsonl", "--output", "out/made.parquet"], "out/made.parquet"),
        (["data", "columns", "--input", "rows.jsonl", "--output", "out/made.jsonl"], "out/made.jsonl"),
        (["data", "check", "rows.jsonl", "--json", "out/report.json"], "out/report.json"),
        (["inspect", *SMALL, "--rows", "0", "--output", "out/page.html"], "out/page.html"),
        (["recipes", "copy", "lab/prefix_rft", "out"], "out/prefix_rft.yaml"),
        (EVAL, "out/base/lab/settings.json"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value,
)
def test_full_disk_ends_a_command_with_the_file_and_leaves_no_part_of_it(tmp_path, capsys, monkeypatch, line, file):
    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert main(line) == 1
    said = capsys.readouterr().err
    assert f"the disk is full: {file} could not be written. Make room" in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_full_disk_at_the_end_of_a_training_names_its_folder(capfd, monkeypatch):
    def fail(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(Trainer, "save_model", fail)
    assert main(["train", *SMALL, "--save_strategy", "no", "--output_dir", "run"]) == 1
    said = capfd.readouterr().err
    assert "prefix-rft train: the disk is full: run could not be written. Make room" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_command_ends_with_one_line(command, capsys, monkeypatch):
    def interrupt(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module(f"prefix_rft_trl.cli.{command}"), "run", interrupt)
    assert main([command]) == 130
    assert capsys.readouterr().err == f"prefix-rft {command}: interrupted.\n"


@pytest.mark.parametrize(
    "line",
    [
        ["data", "check", "rows.jsonl"],
        ["train", *SMALL, "--reward_funcs", "math_accuracy_reward", "--output_dir", "run"],
        [*EVAL, "--reward", "math_accuracy_reward"],
        [*EVAL, "--data_parallel_size", "2", "--num_samples", "300"],
    ],
    ids=lambda line: line[0],
)
def test_shared_memory_that_cannot_be_written_is_found_before_the_work(line, capsys, monkeypatch):
    def fail(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("multiprocessing.context.BaseContext.Lock", fail)
    _load_verifier.cache_clear()  # an evaluation before this one may have made it
    assert main(line) == 2
    assert "shared memory (/dev/shm) cannot be written: [Errno 13] Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "key.txt"), ConnectionError, ImportError])
def test_a_fault_while_training_is_no_refusal_and_keeps_its_traceback(error, monkeypatch, capfd):
    def fail(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(Trainer, "training_step", fail)
    assert main(["train", *SMALL, "--output_dir", "run"]) == 1
    assert "Traceback" in capfd.readouterr().err
