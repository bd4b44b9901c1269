"""Two processes do what one does with the same global batch, groups that straddle them included."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch


SCRIPT = Path(__file__).with_name("train_one_step.py")


def train(folder: Path, prefix_advantage: str, processes: int) -> Path:
    folder.mkdir()
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    arguments = [str(SCRIPT), str(folder), prefix_advantage, str(processes)]
    done = subprocess.run([sys.executable, *launch, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module", params=["group", "on_policy"])
def one_and_two(request, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return train(folder / "one", request.param, 1), train(folder / "two", request.param, 2)


def rollouts_of(folder: Path) -> list[dict]:
    return [row for part in sorted(folder.glob("rollouts-*.json")) for row in json.loads(part.read_text())]


def test_plan_and_advantages_are_the_same(one_and_two):
    one, two = map(rollouts_of, one_and_two)
    assert len(one) == len(two) == 12
    assert [row["prefix_length"] > 0 for row in one].count(True) in (2, 4)  # of 6 places, those with a demonstration
    assert any(row["of_prefix"] != 0 for row in one if row["prefix_length"])
    for alone, shared in zip(one, two, strict=True):
        assert alone | {"of_prefix": 0, "of_continuation": 0} == shared | {"of_prefix": 0, "of_continuation": 0}
        assert shared["of_prefix"] == pytest.approx(alone["of_prefix"], abs=1e-6)
        assert shared["of_continuation"] == pytest.approx(alone["of_continuation"], abs=1e-6)


def test_what_is_logged_is_the_same(one_and_two):
    one, two = (json.loads((folder / "log.json").read_text()) for folder in one_and_two)
    names = [name for name in one if name.startswith(("prefix/", "policy_entropy", "completions/", "loss"))]
    assert len(names) > 15
    for name in names:
        assert two[name] == (None if one[name] is None else pytest.approx(one[name], rel=1e-4, abs=1e-6)), name


def test_the_weights_after_a_step_are_the_same(one_and_two):
    one, two = (torch.load(folder / "weights.pt") for folder in one_and_two)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_table_of_completions_has_the_rows_of_both(one_and_two):
    one, two = (pd.read_parquet(next((folder / "completions").glob("*.parquet"))) for folder in one_and_two)
    pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-4, atol=1e-6)
