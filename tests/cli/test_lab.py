import io
import json
import re
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib.image import imread

from prefix_rft_trl.cli import lab as command
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import STATE, is_finished
from prefix_rft_trl.run.settings import RUN_SETTINGS


TEN_STEPS = ["lab", "--steps", "10", "--seed", "1", "--output_dir"]


@dataclass(frozen=True)
class Quickstart:
    folder: Path
    out: str


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> Quickstart:
    """A finished quickstart, over one of an earlier version."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "grpo").mkdir()
    for stale in ("trainer_state.json", "log.txt"):
        (folder / "grpo" / stale).write_text('{"global_step": 10, "max_steps": 10}')
    with redirect_stdout(io.StringIO()) as out:
        assert main([*TEN_STEPS, str(folder), "--overwrite"]) == 0
    return Quickstart(folder, out.getvalue())


@pytest.fixture
def copied(quickstart, tmp_path) -> Path:
    return Path(shutil.copytree(quickstart.folder, tmp_path / "lab"))


@pytest.fixture
def begun(monkeypatch) -> list[str]:
    """The recipes whose runs are begun. They end at once, and the command with them."""
    found = []

    def begin(jobs, *args, **named):
        found.extend(job.trial.path.stem for job in jobs if not is_finished(job.folder))
        raise SystemExit(9)

    monkeypatch.setattr(command, "run_jobs", begin)
    return found


def test_the_quickstart_makes_a_table_a_picture_and_two_models(quickstart):
    folder = quickstart.folder
    results = json.loads((folder / "results.json").read_text())
    assert (results["seed"], results["steps"], results["base"]["step"]) == (1, 10, 0)
    for method, label in (("grpo", "GRPO"), ("prefix_rft", "Prefix-RFT")):
        found = results[method]
        assert found["step"] == 10
        assert f"{label:<12}{found['accuracy']:>10.2f}{found['step_by_step']:>20.1%}" in quickstart.out
        assert f"{label:<10} is in {folder / method}" in quickstart.out
        assert (folder / method / "model.safetensors").is_file()
        assert re.search(rf"^{label}: done in 0:\d\d:\d\d, accuracy {found['accuracy']:.2f}$", quickstart.out, re.M)
    assert f'"text-generation", "{folder}/prefix_rft"' in quickstart.out
    height, width, _ = imread(folder / "curves.png").shape
    assert width > height > 300


def test_a_finished_quickstart_is_shown_and_not_trained_again(copied, begun, capsys):
    before = (copied / "results.json").read_text()
    assert main([*TEN_STEPS, str(copied)]) == 0
    printed = capsys.readouterr().out
    assert f"This quickstart is in {copied} already, finished: `--overwrite` trains it again." in printed
    assert "works step by step" in printed
    assert (copied / "results.json").read_text() == before
    assert begun == []


def test_overwriting_a_quickstart_trains_both_runs_again(copied, begun):
    with pytest.raises(SystemExit):
        main([*TEN_STEPS, str(copied), "--overwrite", "--seed", "2"])
    assert sorted(begun) == ["grpo", "prefix_rft"]
    assert not (copied / "results.json").exists()


def test_a_quickstart_that_was_killed_trains_what_is_missing(copied, begun):
    (copied / "grpo" / STATE).unlink()
    with pytest.raises(SystemExit):
        main([*TEN_STEPS, str(copied)])
    assert begun == ["grpo"]


@pytest.mark.parametrize(
    ("flags", "difference"),
    [(["--seed", "2"], "seed: 1 there, 2 here"), (["--steps", "20"], "max_steps: 10 there, 20 here")],
)
def test_another_quickstart_in_the_folder_is_refused(copied, begun, refusal, flags, difference):
    error = refusal(*TEN_STEPS, copied, *flags)
    assert f"holds another run ({difference}). Choose another --output_dir, or add --overwrite." in error
    assert begun == []


def test_a_quickstart_of_an_earlier_version_is_refused(copied, begun, refusal):
    (copied / "grpo" / RUN_SETTINGS).write_text("{}")
    assert "holds another run (of unknown settings)" in refusal(*TEN_STEPS, copied)


def test_a_run_that_fails_says_why_and_where_its_log_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no such precision")
    assert main(["lab", "--steps", "10", "--output_dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "no such precision" in error
    assert "log.txt" in error


def test_files_of_the_user_are_not_cleared_away(tmp_path, refusal):
    mine = tmp_path / "prefix_rft" / "notes.txt"
    mine.parent.mkdir()
    mine.touch()
    assert "--output_dir" in refusal("lab", "--output_dir", tmp_path)
    assert mine.is_file()


def test_too_few_steps_are_refused(refusal):
    assert "--steps" in refusal("lab", "--steps", 1)
