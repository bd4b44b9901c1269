"""Two processes do what one does where rollouts call tools, however often those of each process do."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


SCRIPT = Path(__file__).with_name("train_with_tools.py")
RUNS = {
    # Demonstrations of two and three turns, and groups without any, whose rows call no tool
    "mixed": {"demonstrations": [[1, 2, 3], [4, 5], [6, 7, 8], [0, 1], [3, 3], [2, 2, 2]], "settings": {}},
    # The rows of the second process are done at once, while those of the first call tools again and again
    "idle": {"demonstrations": [[1, 2, 3], [0, 7], [0, 8]], "settings": {"prefix_unit": "turn"}},
}


SAMPLED = {**RUNS["mixed"], "samples": True}
SAMPLED["settings"] = {"save_strategy": "steps", "save_steps": 1}
ON_ONE = {**RUNS, "unbroken": SAMPLED, "killed": {**SAMPLED, "killed_at": 2}}


@pytest.fixture(scope="module")
def tool_runs(
    tool_model: Path, launch: Callable[..., Any], config_for_cpus: Callable[..., Path],
    free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """Folder of the runs on one process, in `one`, and on two, in `two`."""
    folder = tmp_path_factory.mktemp("tool_runs")
    one = [sys.executable, str(SCRIPT), str(folder / "one"), str(tool_model), "1", json.dumps(ON_ONE)]
    config = str(config_for_cpus("ddp", folder))
    start = ["-m", "accelerate.commands.launch", "--config_file", config, "--main_process_port", str(free_port())]
    two = [sys.executable, *start, str(SCRIPT), str(folder / "two"), str(tool_model), "2", json.dumps(RUNS)]
    for command in (one, two):
        error = launch([command])
        assert error is None, error
    return folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    parts = [json.loads(part.read_text()) for part in sorted(folder.glob("rows-*.json"))]
    return [row for batches in zip(*parts, strict=True) for of_process in batches for row in of_process]


@pytest.mark.parametrize("name", list(RUNS))
def test_rows_weights_and_counts_are_the_same(tool_runs: Path, name: str) -> None:
    one, two = tool_runs / "one" / name, tool_runs / "two" / name
    alone, shared = rows_of(one), rows_of(two)
    assert len(alone) == 24
    without = {"advantage": 0}
    assert [row | without for row in alone] == [row | without for row in shared]
    assert [row["advantage"] for row in alone] == pytest.approx([row["advantage"] for row in shared], abs=1e-6)
    of_one, of_two = (torch.load(folder / "weights.pt") for folder in (one, two))
    for weight, tensor in of_one.items():
        torch.testing.assert_close(of_two[weight], tensor, atol=2e-6, rtol=1e-4)
    logs = [json.loads((folder / "log.json").read_text()) for folder in (one, two)]
    counts = (
        "prefix/tool_results",
        "prefix/tool_results_differ",
        "prefix/turns_not_served",
        "sampling/decoded_tokens",
        "prefix/tokens",
    )
    for log_of_one, log_of_two in zip(*logs, strict=True):
        assert {key: log_of_one.get(key) for key in counts} == {key: log_of_two.get(key) for key in counts}


def test_the_runs_are_what_they_should_be(tool_runs: Path) -> None:
    turns = [
        sum(a < b for a, b in zip(row["tool_mask"], row["tool_mask"][1:], strict=False))
        for row in rows_of(tool_runs / "two" / "mixed")
    ]
    assert len(set(turns)) > 2
    parts = [json.loads(part.read_text()) for part in sorted((tool_runs / "two" / "idle").glob("rows-*.json"))]
    called = [any(0 in row["tool_mask"] for batch in part for row in batch) for part in parts]
    assert called == [True, False]


def test_a_killed_run_resumes_to_the_same_weights(tool_runs: Path) -> None:
    unbroken, killed = (tool_runs / "one" / name for name in ("unbroken", "killed"))
    assert (killed / "checkpoint-1").is_dir()
    assert rows_of(killed) == rows_of(unbroken)[12:]
    of_unbroken, of_killed = (torch.load(folder / "weights.pt") for folder in (unbroken, killed))
    assert all(torch.equal(weight, of_killed[name]) for name, weight in of_unbroken.items())
