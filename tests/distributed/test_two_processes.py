"""Two processes do what one does with the same global batch, groups that straddle them included."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch


SCRIPT = Path(__file__).with_name("train_runs.py")
# Rollouts in a global batch, and the settings of the run
RUNS = {
    "group": (12, {}),
    "on_policy": (12, {"prefix_advantage": "on_policy"}),
    # Of the two processes one has whole demonstrations alone, which fill the budget, and nothing to sample
    "whole": (
        4,
        {
            "prefix_ratio_schedule": "whole",
            "prefix_loss_type": "shaped",
            "prefix_top_entropy_quantile": 1.0,
            "max_completion_length": 33,
            # Adam makes a whole step of gradients that are rounding alone
            "optim": "sgd",
            "learning_rate": 0.5,
            "max_steps": 2,
        },
    ),
    "adaptive": (
        12,
        {
            "prefix_ratio_schedule": "adaptive",
            "prefix_shared_in_group": True,
            "prefix_success_reward": 0.2,
            "prefix_loss_type": "cross_entropy",
            "prefix_loss_coef": 1.0,
            "max_steps": 3,
            "learning_rate": 1e-5,
        },
    ),
}


def train(folder: Path, processes: int) -> Path:
    folder.mkdir()
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    arguments = [str(SCRIPT), str(folder), str(processes), json.dumps(RUNS)]
    done = subprocess.run([sys.executable, *launch, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("processes")
    return train(folder / "one", 1), train(folder / "two", 2)


@pytest.fixture(params=RUNS)
def one_and_two(request, trained) -> tuple[Path, Path]:
    one, two = trained
    return one / request.param, two / request.param


def rollouts_of(folder: Path) -> list[dict]:
    """Of all generation batches, in the order of the plan."""
    parts = [json.loads(part.read_text()) for part in sorted(folder.glob("rollouts-*.json"))]
    return [row for of_processes in zip(*parts, strict=True) for of_process in of_processes for row in of_process]


def test_plan_and_advantages_are_the_same(one_and_two):
    one, two = map(rollouts_of, one_and_two)
    assert len(one) == len(two)
    # Half of the places of a group are hybrid, of those that have a demonstration
    assert 2 <= [row["prefix_length"] > 0 for row in one].count(True) <= len(one) / 2
    assert any(row["of_prefix"] != 0 for row in one if row["prefix_length"])
    for alone, shared in zip(one, two, strict=True):
        assert alone | {"of_prefix": 0, "of_continuation": 0} == shared | {"of_prefix": 0, "of_continuation": 0}
        assert shared["of_prefix"] == pytest.approx(alone["of_prefix"], abs=1e-6)
        assert shared["of_continuation"] == pytest.approx(alone["of_continuation"], abs=1e-6)


def test_what_is_logged_is_the_same(one_and_two):
    one, two = (json.loads((folder / "log.json").read_text()) for folder in one_and_two)
    for of_one, of_two in zip(one, two, strict=True):
        names = [name for name in of_one if name.startswith(("prefix/", "policy_entropy", "completions/", "loss"))]
        assert len(names) > 15
        for name in names:
            expected = None if of_one[name] is None else pytest.approx(of_one[name], rel=1e-4, abs=1e-6)
            assert of_two[name] == expected, name


def test_the_weights_at_the_end_are_the_same(one_and_two):
    one, two = (torch.load(folder / "weights.pt") for folder in one_and_two)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_table_of_completions_has_the_rows_of_both(one_and_two):
    tables = [sorted((folder / "completions").glob("*.parquet")) for folder in one_and_two]
    for one, two in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(
            pd.read_parquet(one), pd.read_parquet(two), check_exact=False, rtol=1e-4, atol=1e-6
        )


def test_every_process_remembers_the_problems_of_all(one_and_two):
    memories = [json.loads(part.read_text()) for folder in one_and_two for part in sorted(folder.glob("memory-*"))]
    assert len(memories) == 3
    assert memories[0] == memories[1] == memories[2]
    rates = set(memories[0]["attributes"]["last"].values())
    assert len(rates) == (0 if one_and_two[0].name != "adaptive" else 3)
