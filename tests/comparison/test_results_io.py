import json
import math
from pathlib import Path

import pytest

from prefix_rft_trl.comparison.jobs import jobs_for
from prefix_rft_trl.comparison.results import Run, known_accuracy
from prefix_rft_trl.comparison.results_io import collect, collect_runs
from prefix_rft_trl.comparison.spec import Specification, TrialTable
from prefix_rft_trl.comparison.trials import Trial
from prefix_rft_trl.run.folder import CURVE, ENVIRONMENT, STATE


def line(step: int, accuracy: float, cost: float) -> dict:
    costs = {"seconds": cost, "generated_tokens": 10 * cost, "trained_tokens": 100 * cost}
    return {"step": step, "accuracy": accuracy, **costs}


def write_curve(folder: Path, lines: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CURVE).write_text("".join(json.dumps(one) + "\n" for one in lines))


def finish(folder: Path) -> None:
    (folder / STATE).write_text('{"global_step": 2, "max_steps": 2}')


FIRST = [line(0, 0.2, 0), line(2, 0.4, 3)]
SECOND = [line(0, 0.41, 0), line(1, 0.5, 5), line(2, 0.6, 7)]


@pytest.mark.parametrize(
    ("settings", "stages"),
    [({"sft.max_steps": 2, "rft.max_steps": 2}, ("sft", "rft")), ({"max_steps": 2}, ("sft", "rft"))],
)
def test_a_curve_begins_with_the_first_stage_whose_costs_are_added_to_those_of_the_next(tmp_path, settings, stages):
    trial = Trial(Path("both.yaml"), {}, settings, 1, stages)
    folder = jobs_for([trial], tmp_path)[0].folder
    write_curve(folder / "sft", FIRST)
    write_curve(folder, SECOND)
    finish(folder)
    (run,) = collect_runs(trial, tmp_path).runs
    assert run.curve == [*FIRST, line(3, 0.5, 8), line(4, 0.6, 10)]


def test_rewards_of_problems_stay_at_the_last_measurement_and_environments_of_all_stages_are_read(tmp_path):
    trial = Trial(Path("both.yaml"), {}, {"max_steps": 2}, 1, ("sft", "rft"))
    folder = jobs_for([trial], tmp_path)[0].folder
    for place, lines in ((folder / "sft", FIRST), (folder, SECOND)):
        write_curve(place, [one | {"problem_rewards": [1.0, None]} for one in lines])
        (place / ENVIRONMENT).write_text(json.dumps({"cores": len(lines)}) + "\n" + '{"cut off')
    finish(folder)
    (run,) = collect_runs(trial, tmp_path).runs
    assert ["problem_rewards" in one for one in run.curve] == [False, False, False, True]
    assert run.problem_rewards == [1.0, None]
    assert run.environments == [{"cores": 2}, {"cores": 3}]


def test_unfinished_runs_are_left_out(tmp_path):
    trial = Trial(Path("grpo.yaml"), {}, {"max_steps": 2}, 3)
    for job in jobs_for([trial], tmp_path):
        write_curve(job.folder, FIRST)
        if job.seed != 1:
            finish(job.folder)
    assert collect_runs(trial, tmp_path).runs == [Run(0, FIRST), Run(2, FIRST)]


def test_each_cell_has_the_runs_of_its_trial(tmp_path):
    one, other = (Trial(Path(f"{name}.yaml"), {}, {"name": name}, 1) for name in ("one", "other"))
    for trial, accuracy in ((one, 0.25), (other, 0.75)):
        folder = jobs_for([trial], tmp_path)[0].folder
        write_curve(folder, [line(0, accuracy, 0)])
        finish(folder)
    specification = Specification("T", 0.7, [TrialTable("Quality", "N", ["a", "b"], [("Row", [one, other])])])
    found = collect(specification, tmp_path, "the command", "what is measured")
    assert (found.title, found.threshold) == ("T", 0.7)
    assert (found.command, found.measured) == ("the command", "what is measured")
    table = found.tables[0]
    assert (table.title, table.note, table.columns, table.rows[0].label) == ("Quality", "N", ["a", "b"], "Row")
    cells = table.rows[0].experiments
    assert [cell.runs[0].curve[0]["accuracy"] for cell in cells] == [0.25, 0.75]
    assert [(cell.recipe, cell.settings) for cell in cells] == [("one", {"name": "one"}), ("other", {"name": "other"})]


def unscored(step: int, **accuracy: float | None) -> dict:
    known = {name: value for name, value in line(step, 0, step).items() if name != "accuracy"}
    return {**known, "problems": 0, **accuracy}


@pytest.mark.parametrize(
    "missing", [{}, {"accuracy": None}, {"accuracy": 0.0}], ids=["left out", "null", "0, to 0.9.0"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_accuracy_of_no_problem_at_all_is_unknown(tmp_path, missing, place):
    trial = Trial(Path("grpo.yaml"), {}, {"max_steps": 2}, 1)
    (job,) = jobs_for([trial], tmp_path)
    steps = [0, 4, 8]
    lines = [unscored(step, **missing) if step == steps[place] else line(step, 0.5, step) for step in steps]
    write_curve(job.folder, lines)
    finish(job.folder)
    found = collect_runs(trial, tmp_path)
    (run,) = found.runs
    assert [math.isnan(known_accuracy(one)) for one in run.curve] == [step == steps[place] for step in steps]
    assert found.measured_runs == ([] if place == 2 else [run])
