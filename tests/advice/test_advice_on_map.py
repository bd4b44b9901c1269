"""The advice against a map that is made up: verdicts, regret and its interval, and the probe of each cell."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from prefix_rft_trl.advice.advice_rules import ADVISED, MEND, UNKNOWN, Advice, Decision
from prefix_rft_trl.comparison.results import Run
from prefix_rft_trl.evaluation.engines import Engine


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "advice_on_map.py"
    spec = importlib.util.spec_from_file_location("advice_on_map", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def runs(*accuracies: float) -> list[Run]:
    return [Run(seed, [{"accuracy": accuracy, "problems": 100}]) for seed, accuracy in enumerate(accuracies)]


def advice(method: str | None, outcome: str = ADVISED) -> Advice:
    return Advice(Decision(outcome if method is None else ADVISED, "", method), "")


CELL = {
    "sft_then_rft": runs(0.92, 0.94, 0.93),
    "sft": runs(0.91, 0.95, 0.92),
    "prefix_rft": runs(0.81, 0.84, 0.82),
}


@pytest.mark.parametrize(
    ("method", "verdict", "regret"),
    [
        ("sft_then_rft", "best", 0.0),
        ("sft", "not told apart from the best", 0.01 / 3),
        ("prefix_rft", "shown worse", 0.32 / 3),
    ],
)
def test_verdicts_say_what_the_runs_show(method, verdict, regret, harness):
    tested = harness.judge_cell("clean", advice(method), CELL)
    assert tested.best == "sft_then_rft"
    assert tested.verdict == verdict
    assert tested.regret == pytest.approx(regret)


def test_a_noisy_cell_is_not_right_and_shows_its_interval(harness):
    noisy = {"sft": runs(0.5, 0.9, 0.4), "grpo": runs(0.7, 0.6, 0.9)}
    tested = harness.judge_cell("noisy", advice("sft"), noisy)
    assert tested.verdict == "not told apart from the best"
    assert tested.width > 1
    assert tested.regret == pytest.approx(0.4 / 3)


def test_one_seed_shows_nothing_worse(harness):
    tested = harness.judge_cell("one", advice("sft"), {"sft": runs(0.2), "grpo": runs(0.9)})
    assert (tested.verdict, tested.width) == ("not told apart from the best", None)


def test_no_method_is_no_verdict_on_one(harness):
    assert harness.judge_cell("a", advice(None, UNKNOWN), CELL).verdict == "cannot tell"
    assert harness.judge_cell("a", advice(None, MEND), CELL).verdict == MEND


def test_untrained_methods_and_empty_cells_are_errors(harness):
    with pytest.raises(ValueError, match="'grpo', which has no run in it"):
        harness.judge_cell("clean", advice("grpo"), CELL)
    with pytest.raises(ValueError, match="has no runs"):
        harness.judge_cell("empty", advice("grpo"), {"grpo": []})
    with pytest.raises(ValueError, match="No cell has a result"):
        harness.print_scores([])


def final(seed: int, accuracy: float) -> dict[str, object]:
    return {
        "seed": seed,
        "accuracy": accuracy,
        "problem_rewards": [1] * round(10 * accuracy) + [0] * round(10 - 10 * accuracy),
    }


AXES = [
    {"name": "style", "levels": {"worked": {}, "brief": {"lab_style": "brief"}}},
    {"name": "budget", "levels": {"100": {}, "50": {"max_steps": 50, "except": {"sft": {}}}}},
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """As `prefix-rft compare` writes them: a base cell, one with another budget, and one that is not trained yet."""
    cells = [("worked", "100", "a"), ("worked", "50", "b"), ("brief", "100", "c")]
    found = {
        "axes": AXES,
        "cells": [
            {"levels": {"style": style, "budget": budget}, "methods": {"SFT then RFT": f"s{name}", "RFT": f"g{name}"}}
            for style, budget, name in cells
        ],
        "experiments": {
            f"{method[0]}{name}": {
                "recipe": method,
                "runs": [final(seed, accuracy + seed / 10) for seed in range(2)] if name != "c" else [],
            }
            for _, _, name in cells
            for method, accuracy in (("sft_then_rft", 0.8), ("grpo", 0.2))
        },
    }
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"map": found}))
    return file


def test_one_command_probes_the_cells_with_results_and_judges_them(harness, results, tmp_path, capsys, monkeypatch):
    given = [str(results), "--probes", str(tmp_path / "probes"), "--num_problems", "2"]
    told = []

    def judge(found):
        told.append((found.max_steps, found.rollouts))
        return advice("sft_then_rft" if found.max_steps == 100 else "grpo")

    harness.main(given, judge)
    printed = capsys.readouterr().out
    assert told == [(100, 6400), (50, 3200)]
    assert [folder.name for folder in (tmp_path / "probes").iterdir()] == ["base"], "the budget changes no sample"
    assert "2 cells: 1 best, 1 not told apart from the best. Mean regret of the 2 with a method: 0.300." in printed
    monkeypatch.setattr(Engine, "load", lambda *_: pytest.fail("it samples again"))
    harness.main(given, judge)
    assert capsys.readouterr().out.splitlines()[-1] == printed.splitlines()[-1]


def test_levels_are_settings_of_the_probe(harness, results):
    content = json.loads(results.read_text())
    content["map"]["experiments"]["sc"]["runs"] = [final(0, 0.5)]
    results.write_text(json.dumps(content))
    assert [(cell.name, cell.settings) for cell in harness.read_cells(results)] == [
        ("base", {}),
        ("budget=50", {"max_steps": 50}),
        ("style=brief", {"lab_style": "brief"}),
    ]
    assert harness.read_cells(results)[2].runs.keys() == {"sft_then_rft"}


def test_a_comparison_without_a_map_is_refused(harness, tmp_path):
    (tmp_path / "results.json").write_text('{"map": null}')
    with pytest.raises(ValueError, match="has no map"):
        harness.read_cells(tmp_path / "results.json")
