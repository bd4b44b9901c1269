"""What is shown of runs, from the files that they write."""

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from prefix_rft_trl.comparison import jobs_view
from prefix_rft_trl.comparison.jobs import Job, job_names
from prefix_rft_trl.comparison.jobs_view import JobsView
from prefix_rft_trl.comparison.trials import Trial
from prefix_rft_trl.run.folder import CURVE, STATE
from prefix_rft_trl.run.progress import PROGRESS, RunProgress


def job(folder: Path, name: str = "prefix_rft", stages: tuple[str, ...] = ()) -> Job:
    made = Job(Trial(Path(f"{name}.yaml"), {}, {}, 1, stages), 0, folder / name)
    for stage in made.stage_folders.values():
        stage.mkdir(parents=True, exist_ok=True)
    return made


def train(folder: Path, step: int, left: float | None, accuracy: float | None = None) -> None:
    RunProgress(step, 40, left, time.time()).write(folder)
    if accuracy is not None:
        with (folder / CURVE).open("a") as curve:
            print(json.dumps({"step": step, "accuracy": accuracy}), file=curve)


def finish(folder: Path) -> None:
    (folder / PROGRESS).unlink()
    (folder / STATE).write_text(json.dumps({"global_step": 40, "max_steps": 40}))


@pytest.fixture
def screen(monkeypatch) -> Callable[..., list[str]]:
    """The lines of a view in a terminal of some columns, with the files as they are."""
    monkeypatch.setattr(jobs_view, "SECONDS_BETWEEN_READS", 0.0)

    def show(view: JobsView, columns: int = 80) -> list[str]:
        view.refresh(dict.fromkeys(view.running, False))
        console = Console(width=columns, file=io.StringIO(), color_system=None)
        console.print(view.lines)
        return [line.rstrip() for line in console.file.getvalue().splitlines()]

    return show


def test_a_job_is_shown_from_its_start_to_its_end(tmp_path, screen, capsys):
    one = job(tmp_path)
    view = JobsView({one: "prefix_rft, seed 0"}, [one])
    view.begin(one)
    line, *log, summary = screen(view)
    assert re.fullmatch(r"prefix_rft, seed 0 +━+ starting +for 0:00:00", line)
    assert "".join("".join(log).split()) == f"log:{one.log}"
    assert summary == "0 of 1 runs done, 0:00:00 passed"
    train(one.folder, 0, None, 0.18)
    assert re.search(r"seed 0 +step 0/40 +for 0:00:00 +accuracy 0.18$", screen(view)[0])
    train(one.folder, 12, 80.2, 0.25)
    assert re.search(r"[━╸] +step 12/40 +0:01:20 left accuracy 0.25$", screen(view)[0])
    assert screen(view)[-1].endswith("passed, about 0:01:20 left")
    (one.folder / PROGRESS).write_text('{"step": 13')  # it is being written
    with (one.folder / CURVE).open("a") as curve:
        curve.write('{"step": 13')
    assert "step 12/40" in screen(view)[0]
    finish(one.folder)
    assert "step 12/40" in screen(view)[0]
    view.end(one, "")
    assert capsys.readouterr().out.endswith("\nprefix_rft, seed 0: done in 0:00:00, accuracy 0.25\n")
    assert [line for line in screen(view) if line] == ["1 of 1 runs done, 0:00:00 passed"]


def test_stages_are_shown_one_after_the_other(tmp_path, screen):
    one = job(tmp_path, stages=("sft", "rft"))
    view = JobsView({one: "a, seed 0"}, [one])
    view.begin(one)
    train(one.folder / "sft", 20, 30.0, 0.3)
    assert re.match(r"a, seed 0, sft +━+ +step 20/40", screen(view)[0])
    assert screen(view)[-1].endswith(" passed"), "the time of the next stage is unknown"
    finish(one.folder / "sft")
    assert re.match(r"a, seed 0, rft +━+ starting .* accuracy 0.30", screen(view)[0])
    train(one.folder, 1, 60.0, 0.4)
    assert re.match(r"a, seed 0, rft +━* +step 1/40 .* accuracy 0.40", screen(view)[0])
    assert screen(view)[-1].endswith("about 0:01:00 left")


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("name", ["sft", "qwen2.5-math-1.5b-prefix-rft-without-any-decay-of-the-ratio", "数学" * 20])
def test_lines_fit_the_terminal_and_the_log_is_complete(tmp_path, screen, name, columns):
    jobs = [job(tmp_path, name), job(tmp_path, f"{name}-2")]
    view = JobsView(job_names(jobs), jobs)
    for number, one in enumerate(jobs):
        view.begin(one)
        train(one.folder, 10_000 * number, 36_000.0, 1.0)
    lines = screen(view, columns)
    assert max(Console().measure(line).maximum for line in lines) <= columns
    shown = "".join("".join(lines).split())
    assert all(str(one.log) in shown for one in jobs)
    assert "10:00:00left" in shown


@pytest.mark.parametrize(
    ("columns", "stages", "label"),
    [
        (80, (), "grpo, max_completi…, seed 1 ━+ "),
        (84, (), "grpo, max_completion_l…, seed 1 ━+ "),
        (80, ("sft", "rft"), "grpo, max_com…, seed 1, sft ━+ "),
        (60, (), "seed 1 +━+ "),
    ],
)
def test_the_seed_is_never_cut_off(tmp_path, screen, columns, stages, label):
    one = job(tmp_path, stages=stages)
    view = JobsView({one: "grpo, max_completion_length 64, seed 1"}, [one])
    view.begin(one)
    assert re.match(label, screen(view, columns)[0])


def test_a_run_that_measures_before_its_first_step_says_so(tmp_path, screen):
    one = job(tmp_path)
    view = JobsView(job_names([one]), [one])
    view.begin(one)
    RunProgress(0, 2, None, time.time(), is_measuring=True).write(one.folder)
    assert re.search(r"seed 0 +━+ +measuring +for 0:00:0\d$", screen(view)[0])


def test_a_job_that_waits_for_another_command_says_so(tmp_path, screen):
    one = job(tmp_path)
    view = JobsView(job_names([one]), [one])
    view.begin(one)
    view.refresh({one: True})
    assert view.running[one].step == "waiting"


def test_without_a_terminal_a_line_comes_now_and_then(tmp_path, screen, monkeypatch, capsys):
    monkeypatch.setattr(jobs_view, "SECONDS_BETWEEN_LINES", 0.2)
    one = job(tmp_path)
    with JobsView({one: "a, seed 0"}, [one]) as view:
        view.begin(one)
        train(one.folder, 8, 3_600.0)
        for _ in range(9):
            view.refresh({one: False})
            time.sleep(0.05)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"a, seed 0: starts, log in {one.log}"
    assert 1 <= len(lines[1:]) <= 2
    assert re.fullmatch(r"a, seed 0: step 8/40, (1:00:00|0:59:59) left", lines[1])
