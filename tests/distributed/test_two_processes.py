"""Two processes do what one does with the same global batch, however the model is shared out between them."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch


def rollouts_of(folder: Path) -> list[list[list[dict]]]:
    """Of each generation batch the rollouts of each process, in the order of the plan."""
    parts = [json.loads(part.read_text()) for part in sorted(folder.glob("rollouts-*.json"))]
    return list(map(list, zip(*parts, strict=True)))


def flat(batches: list[list[list[dict]]]) -> list[dict]:
    return [row for of_processes in batches for of_process in of_processes for row in of_process]


def kept_of(folder: Path) -> list[tuple[int, list[int]]]:
    return sorted(row for part in folder.glob("kept-*.json") for row in json.loads(part.read_text()))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight.double() for name, weight in torch.load(folder / "weights.pt").items()}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert all(name in other for name in one if "lm_head" not in name)
    return sum(float((weight - other[name]).square().sum()) for name, weight in one.items() if name in other) ** 0.5


def hybrid_rows(of_process: list[dict]) -> int:
    return sum(row["prefix_length"] > 0 for row in of_process)


def test_rollouts_and_advantages_are_the_same(one_and_two):
    one, two = (flat(rollouts_of(folder)) for folder in one_and_two)
    assert len(one) == len(two)
    # Half of the places of a group are hybrid, of those that have a demonstration
    assert 2 <= hybrid_rows(one) <= len(one) / 2
    assert any(row["of_prefix"] != 0 for row in one if row["prefix_length"])
    for alone, shared in zip(one, two, strict=True):
        assert alone | {"of_prefix": 0, "of_continuation": 0} == shared | {"of_prefix": 0, "of_continuation": 0}
        assert shared["of_prefix"] == pytest.approx(alone["of_prefix"], abs=1e-6)
        assert shared["of_continuation"] == pytest.approx(alone["of_continuation"], abs=1e-6)


def test_trained_prefix_tokens_are_the_same(one_and_two):
    one, two = map(kept_of, one_and_two)
    iterations = 2 if one_and_two[0].name == "measured" else 1
    hybrids = iterations * hybrid_rows(flat(rollouts_of(one_and_two[0])))
    assert len(one) == hybrids or (one_and_two[0].name == "gated" and 0 < len(one) < hybrids)
    assert any(places for _, places in one)
    assert one == two


def test_logs_are_the_same(one_and_two):
    one, two = (json.loads((folder / "log.json").read_text()) for folder in one_and_two)
    for of_one, of_two in zip(one, two, strict=True):
        names = [name for name in of_one if name.startswith(("prefix/", "policy_entropy", "completions/", "loss"))]
        assert len(names) > (10 if one_and_two[0].name in ("uneven", "measured") else 15)
        for name in names:
            expected = None if of_one[name] is None else pytest.approx(of_one[name], rel=1e-4, abs=1e-6)
            assert of_two[name] == expected, name


def test_gradients_and_clipped_tokens_of_both_processes_are_measured(trained):
    logs = json.loads((trained("ddp") / "measured" / "log.json").read_text())
    assert all(log["prefix/gradient_norm"] > 0 < log["prefix/gradient_norm_sampled"] for log in logs)
    for log in logs:
        norms = log["prefix/gradient_norm"], log["prefix/gradient_norm_sampled"]
        square = norms[0] ** 2 + norms[1] ** 2 + 2 * log["prefix/gradient_cosine"] * norms[0] * norms[1]
        assert log["grad_norm"] == pytest.approx(square**0.5, rel=1e-4)
    assert logs[0]["prefix/clip_ratio"] == 0 < logs[1]["prefix/clip_ratio"] < 1


def test_final_weights_are_the_same(one_and_two, start):
    one, two = map(weights_of, one_and_two)
    assert distance(one, start) > 1e-3
    assert distance(one, two) <= 1e-4 * distance(one, start)


def test_completions_table_has_the_rows_of_both(one_and_two):
    tables = [sorted((folder / "completions").glob("*.parquet")) for folder in one_and_two]
    for one, two in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(
            pd.read_parquet(one), pd.read_parquet(two), check_exact=False, rtol=1e-4, atol=1e-6
        )


def test_every_process_remembers_all_problems(one_and_two):
    memories = [json.loads(part.read_text()) for folder in one_and_two for part in sorted(folder.glob("memory-*"))]
    assert len(memories) == 3
    assert memories[0] == memories[1] == memories[2]
    rates = set(memories[0]["attributes"]["last"].values())
    assert len(rates) == (0 if one_and_two[0].name != "adaptive" else 3)


def test_runs_cover_the_uneven_cases(trained):
    uneven, budgets = (rollouts_of(trained("ddp") / name) for name in ("uneven", "budgets"))
    assert [[hybrid_rows(of_process) for of_process in batch] for batch in uneven] == [[4, 2], [0, 0], [2, 0]]
    straddling = [of_process[-2:][0]["prompt"] for of_process in (uneven[0][0], uneven[0][1][::-1])]
    assert straddling[0] == straddling[1]  # the end of one process and the start of the other are of one group
    for batch in budgets:
        assert [hybrid_rows(of_process) for of_process in batch] == [2, 0]
        assert all(len(row["ids"]) == 40 for row in flat([batch]))
