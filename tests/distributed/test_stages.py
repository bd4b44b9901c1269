"""Two processes sample the same groups again as one does, with what each has to do shared out unevenly."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch


def parts(folder: Path, name: str) -> list[Any]:
    return [json.loads(part.read_text()) for part in sorted(folder.glob(f"{name}-*.json"))]


def rollouts_of(folder: Path) -> list[list[dict]]:
    """Of each generation batch the rollouts of all processes."""
    return [
        [row for part in of_processes for row in part] for of_processes in zip(*parts(folder, "rollouts"), strict=True)
    ]


def logs_of(folder: Path) -> list[dict]:
    return json.loads((folder / "log.json").read_text())


def test_rollouts_are_the_same(staged_one_and_two):
    one, two = map(rollouts_of, staged_one_and_two)
    assert len(one) == len(two) == 4
    for alone, shared in zip(one, two, strict=True):
        for row, other in zip(alone, shared, strict=True):
            advantages = {name: pytest.approx(row[name], abs=1e-6) for name in ("of_prefix", "of_continuation")}
            assert other == row | advantages


def test_logs_are_the_same(staged_one_and_two):
    for of_one, of_two in zip(*map(logs_of, staged_one_and_two), strict=True):
        names = ("stages/", "sampling/", "prefix/", "completions/", "reward", "loss", "num_tokens")
        compared = [name for name in of_one if name.startswith(names)]
        assert len(compared) > 20
        for name in compared:
            expected = None if of_one[name] is None else pytest.approx(of_one[name], rel=1e-4, abs=1e-6)
            assert of_two[name] == expected, name


def test_weights_are_the_same(staged_one_and_two, start):
    one, two = (torch.load(folder / "weights.pt") for folder in staged_one_and_two)

    def distance(some, others):
        names = {name for name in some if "lm_head" not in name}
        return sum(float((some[name].double() - others[name]).square().sum()) for name in names) ** 0.5

    assert distance(one, start) > 1e-3
    assert distance(one, two) <= 1e-4 * distance(one, start)


def test_completions_table_is_the_same(staged_one_and_two):
    tables = [sorted((folder / "completions").glob("*.parquet")) for folder in staged_one_and_two]
    for one, two in zip(*tables, strict=True):
        table = pd.read_parquet(one)
        assert list(table["said"]) == list(table["completion"])
        pd.testing.assert_frame_equal(table, pd.read_parquet(two), check_exact=False, rtol=1e-4, atol=1e-6)


def test_every_process_takes_part_in_every_pass(staged_one_and_two):
    first, second = parts(staged_one_and_two[1], "calls")
    (alone,) = parts(staged_one_and_two[0], "calls")
    assert len(alone) > 4, "some group was sampled again"
    assert [len(call) for call in first] == [len(call) for call in second]
    padding = []
    for call, *of_two in zip(alone, first, second, strict=True):
        rows = [ids for of_process in of_two for ids in of_process]
        for ids in call:
            rows.remove(ids)
        padding += rows
    if staged_one_and_two[0].name.endswith("greedily"):
        assert {*map(len, padding)} == {1}, "a row that only fills up a pass decodes one token"


def test_runs_cover_the_uneven_cases(trained):
    """A process that has no row of a pass scores another's worth of padding; some group straddles the two."""
    folder = trained("ddp") / "replaces_groups"
    idle = set()
    batches = rollouts_of(trained("one") / "replaces_groups")
    for first, second, batch in zip(*parts(folder, "rollouts"), batches, strict=True):
        hybrid = [row["prefix_length"] > 0 for row in batch]
        resampled = [group for group in range(3) if all(hybrid[group * 4 : group * 4 + 4])]
        idle |= {*(["first"] if resampled == [2] else []), *(["second"] if resampled == [0] else [])}
        idle |= {"straddling"} if 1 in resampled else set()
        assert len(first) == len(second) == 6
    assert len(idle) > 1, idle
    assert "straddling" in idle
