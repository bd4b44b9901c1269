"""The advice against a map that is made up: what counts as right, and what it costs where it is not."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from prefix_rft_trl.advice.advice_rules import ADVISED, MEND, UNKNOWN, Advice, Decision
from prefix_rft_trl.comparison.results import Run


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
    "prefix_rft": runs(0.81, 0.83, 0.82),
}


@pytest.mark.parametrize(
    ("method", "is_right", "regret"),
    [("sft_then_rft", True, 0.0), ("sft", True, 0.01 / 3), ("prefix_rft", False, 0.11)],
)
def test_right_is_best_or_not_told_apart_from_it(method, is_right, regret, harness):
    tested = harness.judge_cell("clean", advice(method), CELL)
    assert tested.best == "sft_then_rft"
    assert tested.is_right == is_right
    assert tested.regret == pytest.approx(regret)


def test_score_counts_what_is_not_told_apart_from_what_is_wrong(harness):
    cells = [advice("sft_then_rft"), advice("prefix_rft"), advice(None, UNKNOWN), advice(None, MEND)]
    found = harness.score([harness.judge_cell(str(number), one, CELL) for number, one in enumerate(cells)])
    assert (found.cells, found.right, found.unknown) == (4, 0.5, 0.25)
    assert found.regret == pytest.approx(0.055)


def test_one_seed_tells_no_difference_apart(harness):
    """Without an interval a method that is not the best is not called as good."""
    tested = harness.judge_cell("one", advice("sft"), {"sft": runs(0.8), "grpo": runs(0.9)})
    assert not tested.is_right


def test_untrained_methods_and_empty_cells_are_errors(harness):
    with pytest.raises(ValueError, match="'grpo', which has no run in it"):
        harness.judge_cell("clean", advice("grpo"), CELL)
    with pytest.raises(ValueError, match="has no runs"):
        harness.judge_cell("empty", advice("grpo"), {"grpo": []})
    with pytest.raises(ValueError, match="No cell has both"):
        harness.score([])


def test_script_joins_probes_and_map_by_cell(harness, probe_findings, tmp_path, capsys):
    probes = tmp_path / "probes"
    probes.mkdir()
    for style in ("worked", "brief", "swapped"):
        (probes / f"{style}.json").write_text(json.dumps(asdict(probe_findings(style))))
    trained = {
        "worked": {"sft_then_rft": [0.92, 0.94], "prefix_rft": [0.82, 0.82]},
        "brief": {"sft_then_rft": [0.15, 0.15], "prefix_rft": [0.81, 0.83]},
        "swapped": {"sft_then_rft": [0.9, 0.9], "prefix_rft": [0.2, 0.2]},
        "not probed": {"grpo": [0.2, 0.2]},
    }
    cells = {
        cell: {m: [{"seed": s, "accuracy": a} for s, a in enumerate(values)] for m, values in methods.items()}
        for cell, methods in trained.items()
    }
    (tmp_path / "map.json").write_text(json.dumps(cells))
    harness.main([str(probes), str(tmp_path / "map.json")])
    printed = capsys.readouterr().out
    assert "3 cells: 100% of advice right, mean regret 0.000; cannot tell in 33%." in printed
