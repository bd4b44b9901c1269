"""What the tables and the sentences under them say of differences: never more than the runs tell."""

import numpy as np
import pytest

from prefix_rft_trl.comparison.accuracy_tables import (
    BEST,
    IDENTICAL,
    NO_INTERVAL,
    ONE_SEED,
    REASONS,
    accuracy_grid,
    differences_table,
    headline,
    seeds_that_ended_alike,
)
from prefix_rft_trl.comparison.results import Experiment, ResultRow, ResultTable, Run


COSTS = dict.fromkeys(("step", "seconds", "generated_tokens", "trained_tokens"), 0)
LOW, HIGH = [0.2, 0.22, 0.21], [0.9, 0.93, 0.91]


def experiment(accuracies, recorded: bool = False, shuffled: bool = False, problems: int = 200) -> Experiment:
    runs, chance = [], np.random.default_rng(len(accuracies))
    for seed, accuracy in enumerate(accuracies):
        right = round(accuracy * problems)
        rewards = np.array([1.0] * right + [0.0] * (problems - right))
        rewards = (chance.permutation(rewards) if shuffled else rewards).tolist()
        line = {**COSTS, "accuracy": right / problems, "problems": problems}
        runs.append(Run(seed, [line | ({"problem_rewards": rewards} if recorded else {})]))
    return Experiment("name", "recipe", {}, runs)


def table(rows: dict[str, list[Experiment]], columns: list[str] | None = None) -> ResultTable:
    return ResultTable("title", "", columns or [], [ResultRow(label, found) for label, found in rows.items()])


def methods(**accuracies) -> ResultTable:
    return table({label: [experiment(found)] for label, found in accuracies.items()})


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (methods(A=[0.5, 0.5, 0.9, 0.9, 0.9], B=[0.7, 0.71]), "Shown to be above A on the seeds that both have: B."),
        (methods(A=HIGH, B=LOW), "A is shown to be above all others."),
        (methods(A=HIGH, B=LOW, C=[]), "A is shown to be above all others that were measured."),
        (methods(A=HIGH, B=[0.8, 0.95, 0.9]), "Not told apart from A: B."),
        (methods(A=[0.9], B=[0.2]), ONE_SEED),
    ],
)
def test_the_sentence_says_who_is_above_whom(found, sentence):
    assert sentence in differences_table(found).caption
    assert bool(headline(found, 0.5).bold) == ("above all" in sentence)


def test_a_method_that_is_better_on_the_shared_seeds_keeps_its_sign_and_the_other_is_not_bold():
    found = methods(A=[0.5, 0.5, 0.9, 0.9, 0.9], B=[0.7, 0.71])
    rows = {label: cells for label, *cells in differences_table(found).rows}
    assert rows["A"] == ["-", BEST]
    assert rows["B"][1].startswith("+0.205 (+")
    assert headline(found, 0.5).bold == set()


def test_runs_that_are_identical_are_said_to_be_so():
    same = table({"A": [experiment(HIGH, recorded=True)], "B": [experiment(HIGH, recorded=True)]})
    found = differences_table(same)
    assert found.rows[1] == ["B", "3", IDENTICAL]
    assert REASONS[IDENTICAL] in found.caption
    assert REASONS[NO_INTERVAL] not in found.caption


def test_a_difference_without_an_interval_has_a_reason():
    found = differences_table(methods(A=[0.5, 0.5, 0.5], B=[0.4, 0.4, 0.4]))
    assert found.rows[1] == ["B", "3", f"-0.100 {NO_INTERVAL}"]
    assert REASONS[NO_INTERVAL] in found.caption


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ({}, "All seeds ended alike, so that they show no spread: A (all 2 at 0.500)."),
        ({"recorded": True}, "same reward on every problem, and tell nothing of other seeds: A (all 2 at 0.500)."),
        ({"recorded": True, "shuffled": True}, "All seeds tie with other answers"),
    ],
)
def test_seeds_that_ended_alike_are_said_to_be_identical_only_if_they_are(kind, sentence):
    assert sentence in seeds_that_ended_alike(table({"A": [experiment([0.5, 0.5], **kind)]}))


def test_a_grid_of_differences_has_the_number_of_seeds_and_says_what_one_tells():
    rows = {"A": [experiment(HIGH), experiment(HIGH)], "B": [experiment(LOW), experiment(LOW[:1])]}
    grid = table(rows, ["all", "one"])
    found = differences_table(grid)
    assert "over the seeds that both have: 3 seeds, unless another n is given." in found.caption
    assert ONE_SEED in found.caption
    several, one = found.rows[1][1:]
    assert "n=" not in several
    assert one == f"-0.700 {NO_INTERVAL} (n=1)"
    assert accuracy_grid(grid).bold == {(0, 1)}
    whole = differences_table(table({label: one[:1] for label, one in rows.items()}, ["all"]))
    assert ONE_SEED not in whole.caption
