"""`prefix-rft data sample`: the same file after a kill, in several processes and in other batches; used outputs."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from datasets import load_dataset

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.rejection import making
from prefix_rft_trl.lab import exact_answer_reward
from prefix_rft_trl.lab import load_dataset as load_lab
from prefix_rft_trl.utils.files import exclusive_lock


PROBLEMS, SAMPLES, BATCH = 12, 8, 4
CHUNKS = PROBLEMS * SAMPLES // BATCH
DEADLINE = 100  # seconds
IMPORTED = [
    "prefix_rft_trl.cli.data_sample",
    "prefix_rft_trl.evaluation.samplers",
    "prefix_rft_trl.evaluation.rejection.making",
    "transformers.models.qwen2.modeling_qwen2",
]


def arguments(output: Path, *flags: str, batch_size: int = BATCH) -> list[str]:
    return [
        "data", "sample", "--model", "lab", "--dataset", str(output.parent / "begun.jsonl"),
        "--backend", "transformers", "--reward", "lab_exact_answer", "--max_new_tokens", "40",
        "--num_samples", str(SAMPLES), "--batch_size", str(batch_size),
        "--keep", "2", "--order", "most_likely", "--output", str(output), *flags,
    ]  # fmt: skip


def write_problems(folder: Path) -> None:
    """The first step of each is given, so that the model works through them: it answers others at once."""
    rows = load_lab("train", PROBLEMS)
    begun = ({"prompt": row["prompt"] + row["completion"][:4], "solution": row["solution"]} for row in rows)
    (folder / "begun.jsonl").write_text("".join(json.dumps(row) + "\n" for row in begun))


@pytest.fixture(autouse=True)
def problems(tmp_path) -> None:
    write_problems(tmp_path)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "own.parquet"
    write_problems(output.parent)
    assert main(arguments(output)) == 0
    return output


@pytest.fixture
def made(unbroken, tmp_path) -> Path:
    """A copy of what a finished command has written."""
    folder = Path(shutil.copytree(unbroken.parent, tmp_path / "copy"))
    return folder / unbroken.name


def samples_of(output: Path) -> dict[str, int]:
    """When each file of samples was written."""
    return {file.name: file.stat().st_mtime_ns for file in making.samples_folder(output).glob("begun/samples-*")}


def files_of(output: Path) -> dict[str, bytes]:
    folder = output.parent
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def kill_at() -> Callable[[Path, int], None]:
    """Kills a command as soon as it has so many files of samples."""
    forks = get_context("forkserver")  # forked from a process which has imported everything: a start takes no time
    forks.set_forkserver_preload(IMPORTED)

    def kill(output: Path, number: int) -> None:
        process, end = forks.Process(target=main, args=[arguments(output)]), time.monotonic() + DEADLINE
        process.start()
        try:
            while len(samples_of(output)) < number:
                assert time.monotonic() < end, "it has not come so far"
                time.sleep(0.002)
        finally:
            process.kill()
            process.join()
        assert process.exitcode == -signal.SIGKILL, "it was killed before its end"

    return kill


def test_the_answers_are_right_and_the_most_likely_of_their_problem(unbroken):
    rows = load_dataset("parquet", data_files=str(unbroken), split="train")
    assert rows.column_names == ["prompt", "completion", "solution"]
    assert 0 < len(rows) <= PROBLEMS
    assert max(len(row["completion"]) for row in rows) == 2
    for row in rows:
        texts, golds = row["completion"], [row["solution"]] * len(row["completion"])
        assert len(set(texts)) == len(texts)
        assert exact_answer_reward(texts, golds) == [1.0] * len(texts)


def test_killed_and_resumed_by_two_processes_it_writes_the_same_file(tmp_path, unbroken, kill_at):
    output = tmp_path / unbroken.name
    kill_at(output, CHUNKS // 3)
    before = samples_of(output)
    assert CHUNKS // 3 <= len(before) < CHUNKS
    assert not output.exists()
    assert main(arguments(output, "--data_parallel_size", "2")) == 0
    assert before.items() <= samples_of(output).items(), "what it had sampled was not sampled again"
    assert files_of(output) == files_of(unbroken)


def test_interrupted_between_report_and_file_it_is_written_the_next_time(
    made, unbroken, no_model_is_loaded, monkeypatch
):
    made.unlink()
    (making.samples_folder(made) / making.REPORT).unlink()
    with monkeypatch.context() as patch:
        write = making.write_atomically

        def write_and_stop(file: Path, text: str) -> None:
            write(file, text)
            raise KeyboardInterrupt

        patch.setattr(making, "write_atomically", write_and_stop)
        assert main(arguments(made)) == 130
    assert not made.exists()
    assert main(arguments(made)) == 0
    assert files_of(made) == files_of(unbroken)


def test_other_batches_make_the_same_file(tmp_path, unbroken):
    output = tmp_path / unbroken.name
    assert main(arguments(output, batch_size=36)) == 0
    assert output.read_bytes() == unbroken.read_bytes()


def test_a_finished_command_says_so_and_does_nothing(made, no_model_is_loaded, capsys):
    before = files_of(made)
    assert main(arguments(made)) == 0
    assert files_of(made) == before
    said = capsys.readouterr().out
    assert "Nothing was left to do: the " in said
    assert "solved (pass@8)" in said


@pytest.mark.parametrize(
    ("flags", "changed"),
    [
        (["--keep", "1"], "keep was 2 and is 1"),
        (["--order", "shortest"], "order was 'most_likely' and is 'shortest'"),
        (["--all"], "all was False and is True"),
        (["--seed", "1"], "seed was 0 and is 1"),
        (["--temperature", "0.5"], "temperature was 1.0 and is 0.5"),
        (["--instruction", "Work it out:"], "instruction was '' and is 'Work it out:'"),
        (["--reward", "lab_step_by_step"], "reward was 'exact_answer_reward' and is 'step_by_step_reward'"),
        (["--num_problems", "11"], "problems was "),
        (["--lab_level", "hard"], "weights was "),
    ],
)
def test_other_settings_for_the_same_file_are_refused(made, no_model_is_loaded, capsys, flags, changed):
    for is_written in (True, False):
        if not is_written and flags[0] not in ("--keep", "--order", "--all"):  # these need no other samples
            made.unlink()
        before = files_of(made)
        assert main(arguments(made, *flags)) == 2
        said = capsys.readouterr().err
        assert changed in said
        assert "--overwrite" in said
        assert files_of(made) == before


def test_a_file_of_something_else_is_refused_and_can_be_replaced(made, unbroken, no_model_is_loaded, capsys):
    made.write_bytes(made.read_bytes() + b"\n")
    assert main(arguments(made)) == 2
    assert "exists already, and not from this command" in capsys.readouterr().err
    assert main(arguments(made, "--overwrite")) == 0
    assert files_of(made) == files_of(unbroken), "from the samples that were there"


def test_other_demonstrations_are_chosen_from_the_samples_that_are_there(made, no_model_is_loaded):
    assert main(arguments(made, "--overwrite", "--keep", "1", "--order", "shortest")) == 0
    rows = load_dataset("parquet", data_files=str(made), split="train")
    assert all(isinstance(text, str) for text in rows["completion"])


def test_samples_of_other_settings_are_replaced_on_demand(made, unbroken):
    assert main(arguments(made, "--overwrite", "--seed", "1", batch_size=48)) == 0
    assert len(samples_of(made)) == PROBLEMS * SAMPLES // 48
    report = json.loads((making.samples_folder(made) / making.REPORT).read_text())
    assert report["settings"]["seed"] == 1
    assert made.read_bytes() != unbroken.read_bytes()


def test_two_commands_do_not_write_one_file(made, no_model_is_loaded, capsys):
    with exclusive_lock(making.samples_folder(made)):
        assert main(arguments(made)) == 2
    said = capsys.readouterr().err
    assert f"is writing into {made}. Waiting 2 seconds" in said
    assert f"is writing into {made}. Wait for it" in said
