"""Intervals of means and of paired differences: by independent computations, and by how often they hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prefix_rft_trl.comparison.accuracy_tables import told_apart_rows
from prefix_rft_trl.comparison.results import Experiment, Run
from prefix_rft_trl.comparison.uncertainty import half_width, mean_accuracy, mean_difference
from prefix_rft_trl.utils.intervals import bounded_interval


def run(seed: int, rewards, recorded: bool = True) -> Run:
    known = [float(reward) for reward in rewards if reward is not None]
    line = {"step": 9, "accuracy": sum(known) / len(known), "problems": len(known)}
    return Run(seed, [line | ({"problem_rewards": list(rewards)} if recorded else {})])


def runs(*accuracies: float, problems: int = 100, recorded: bool = False) -> list[Run]:
    """Runs whose first problems are right."""
    right = [round(accuracy * problems) for accuracy in accuracies]
    return [run(seed, [1.0] * n + [0.0] * (problems - n), recorded) for seed, n in enumerate(right)]


def tied(accuracy: float, seeds: int, problems: int = 100) -> list[Run]:
    """Runs of one accuracy, each with other problems that are right."""
    chance, right = np.random.default_rng(round(100 * accuracy)), round(accuracy * problems)
    rewards = np.array([1.0] * right + [0.0] * (problems - right))
    return [run(seed, chance.permutation(rewards).tolist()) for seed in range(seeds)]


def named(found: list[Run]) -> Experiment:
    return Experiment("name", "recipe", {}, found)


@given(st.lists(st.integers(0, 1000).map(lambda right: right / 1000), min_size=2, max_size=8, unique=True))
def test_the_half_width_is_students_t(values):
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize(("right", "problems"), [(0, 30), (30, 30), (50, 100), (3, 7), (1, 1)])
def test_a_single_run_has_wilsons_interval_over_problems(right, problems):
    expected = stats.binomtest(right, problems).proportion_ci(method="wilson")
    for recorded in (True, False):
        found = mean_accuracy([run(0, [1.0] * right + [0.0] * (problems - right), recorded)])
        assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-9)
        assert found.over == ("problems",)


@given(st.floats(0.001, 0.999), st.floats(1e-4, 10))
def test_an_interval_of_a_share_stays_within_its_bounds_and_holds_it(share, half):
    low, high = bounded_interval(share, half, draws=0)
    assert 0 < low < share < high < 1


def test_a_narrow_interval_is_that_of_students_t_and_a_mean_out_of_bounds_has_that_alone():
    assert bounded_interval(0.6, 0.01, draws=0) == pytest.approx((0.59, 0.61), abs=3e-4)
    assert bounded_interval(-0.5, 0.1, draws=0) == pytest.approx((-0.6, -0.4))
    assert bounded_interval(-0.5, 0.0, draws=9) is None
    assert bounded_interval(0.5, 0.0, draws=0) is None


def test_seeds_and_problems_add_their_squares():
    rewards = np.array([[1, 1, 0, 0, 1, 1, 0, 1], [1, 0, 0, 0, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1, 0, 1]], float)
    found = mean_accuracy([run(seed, row) for seed, row in enumerate(rewards)])
    seeds = stats.t.ppf(0.975, 2) * stats.sem(rewards.mean(1))
    problems = stats.t.ppf(0.975, 7) * stats.sem(rewards.mean(0))
    mean, z = rewards.mean(), stats.norm.ppf(0.975)
    draws = mean * (1 - mean) * z**2 / (seeds**2 + problems**2)
    centre = (mean + z**2 / (2 * draws)) / (1 + z**2 / draws)
    spread = z / (1 + z**2 / draws) * math.sqrt(mean * (1 - mean) / draws + z**2 / (4 * draws**2))
    assert found.interval == pytest.approx((centre - spread, centre + spread))
    assert found.over == ("seeds", "problems")


def test_seeds_that_ended_alike_are_known_as_such_and_have_an_interval_all_the_same():
    alike = mean_accuracy(runs(0.5, 0.5, 0.5))
    assert alike.is_alike
    assert (alike.over, alike.interval) == (("problems",), mean_accuracy(runs(0.5)).interval)
    assert not mean_accuracy(runs(0.5)).is_alike
    assert mean_accuracy(runs(0.5, 0.5, recorded=True)).over == ("problems",)
    unknown = mean_accuracy([Run(seed, [{"accuracy": 0.5}]) for seed in (0, 1)])
    assert (unknown.interval, unknown.over) == (None, ())


def test_seeds_that_tie_with_other_answers_vary_as_much_as_sampling_alone_makes_them():
    rewards = np.array([[1, 1, 0, 0, 1], [0, 1, 1, 0, 1], [1, 0, 1, 0, 1]], float)
    found = mean_accuracy([run(seed, row) for seed, row in enumerate(rewards)])
    assert (found.is_alike, found.over) == (True, ("seeds", "problems"))
    seeds = stats.t.ppf(0.975, 2) * math.sqrt(rewards.var(0, ddof=1).mean() / 5 / 3)
    half = math.hypot(seeds, stats.t.ppf(0.975, 4) * stats.sem(rewards.mean(0)))
    assert found.interval == pytest.approx(bounded_interval(0.6, half, draws=0))


def test_the_interval_of_a_difference_is_students_t_cut_at_1_and_agrees_with_what_is_told():
    found = mean_difference(runs(0.3, 0.0, 0.0), runs(1.0, 1.0, 1.0))
    t = stats.ttest_1samp([-0.7, -1, -1], 0).confidence_interval(0.95)
    assert t.low < -1
    assert found.interval == pytest.approx((-1, t.high))
    assert found.is_below_zero
    assert not found.is_above_zero


def test_runs_with_the_same_rewards_are_identical_and_such_a_difference_has_no_interval():
    same = mean_difference(runs(0.2, 0.3, recorded=True), runs(0.2, 0.3, recorded=True))
    assert (same.is_of_identical_runs, same.interval) == (True, None)
    unknown = mean_difference(runs(0.2, 0.3), runs(0.2, 0.3))
    assert (unknown.is_of_identical_runs, unknown.interval) == (False, None)
    assert not mean_difference(tied(0.6, seeds=2), runs(0.6, 0.6, recorded=True)).is_of_identical_runs


def test_a_difference_is_paired_by_seed_and_by_problem():
    chance = np.random.default_rng(1)
    first = (chance.random((3, 40)) < 0.7).astype(float)
    second = (chance.random((3, 40)) < 0.4).astype(float)
    runs_of = [[run(seed, row) for seed, row in enumerate(rows)] for rows in (first, second)]
    found = mean_difference(runs_of[0], list(reversed(runs_of[1])))
    difference = first - second
    expected = stats.ttest_rel(first.mean(1), second.mean(1)).confidence_interval(0.95)
    problems = stats.t.ppf(0.975, 39) * stats.sem(difference.mean(0))
    half = math.hypot((expected.high - expected.low) / 2, problems)
    assert found.mean == pytest.approx(difference.mean())
    assert found.interval == pytest.approx((difference.mean() - half, difference.mean() + half))
    over_seeds = mean_difference(*([Run(r.seed, [{"accuracy": r.accuracy}]) for r in side] for side in runs_of))
    assert over_seeds.interval == pytest.approx((expected.low, expected.high))


def test_seeds_that_one_method_lacks_and_other_problems_are_not_paired():
    found = mean_difference(runs(0.2, 0.3, 0.4), runs(0.1, 0.1)[1:])
    assert (found.seeds, found.mean) == (1, pytest.approx(0.2))
    assert mean_difference(runs(0.2), runs(0.1, 0.1)[1:]) is None
    assert mean_difference(runs(0.2), runs(0.2, problems=50)) is None


def test_a_problem_that_some_run_could_not_score_counts_in_no_pair():
    first, second = run(0, [1.0, None, 1.0, 0.0]), run(0, [0.0, 1.0, 1.0, None])
    assert mean_difference([first], [second]).interval is not None
    everything = mean_difference([run(0, [1.0, 1.0])], [run(0, [0.0, 0.0])])
    assert (everything.mean, everything.interval) == (1.0, None)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ([runs(0.027, 0.777), runs(0.63, 0.65), runs(0.9, 0.92)], set()),  # a wide interval is not beaten
        ([runs(0.2, 0.22, 0.21), runs(0.63, 0.66, 0.64), runs(0.9, 0.92, 0.93)], {2}),
        ([runs(0.63, 0.65, 0.64), runs(0.9, 0.92, 0.91)], set()),  # all pairs differ alike
        ([runs(0.88, 0.95, 0.9), runs(0.63, 0.65, 0.64), runs(0.9, 0.92, 0.91)], set()),
        ([runs(0.2), runs(0.9)], set()),  # one seed
        ([runs(0.2, recorded=True), runs(0.9, recorded=True)], set()),
        ([runs(0.2, 0.2), runs(0.9, 0.9)], set()),  # alike, and problems are not recorded
        ([runs(0.2, 0.2, recorded=True), runs(0.9, 0.9, recorded=True)], set()),  # identical seeds
        ([runs(0.0, 0.0, recorded=True), runs(1.0, 1.0, recorded=True)], set()),
        ([runs(0.2, 0.2, recorded=True), runs(0.9, 0.92, 0.91, recorded=True)], {1}),
        ([runs(0.5, 0.5, 0.9, 0.9, 0.9), runs(0.7, 0.71)], set()),  # the highest mean is below on the shared seeds
        ([tied(0.78, seeds=2), tied(0.6, seeds=2)], set()),
        ([tied(0.9, seeds=5), tied(0.6, seeds=5)], {0}),
        ([runs(0.5, 0.5, recorded=True), runs(0.5, 0.5, recorded=True)], set()),
        ([runs(0.2, 0.21), [], runs(0.9, 0.92)], {2}),
        ([runs(0.9, 0.91)], set()),
        ([[], []], set()),
        ([], set()),
    ],
)
def test_bold_is_what_is_told_apart_from_every_other(column, told):
    assert told_apart_rows([named(found) for found in column]) == told


def test_a_difference_of_seeds_that_vary_together_is_told_where_their_intervals_overlap():
    better, worse = runs(0.5, 0.7, 0.9), runs(0.45, 0.66, 0.85)
    assert mean_accuracy(worse).high > mean_accuracy(better).low
    assert told_apart_rows([named(worse), named(better)]) == {1}


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(("level", "spread"), [(0.0, 0.0), (0.0, 1.0), (2.5, 0.2), (-4.0, 0.5)])
def test_the_intervals_hold_the_truth_over_seeds_and_problems(seeds, level, spread):
    chance, trials, problems, effect = np.random.default_rng(0), 150, 60, 0.5

    def accuracies(level, of_seed, of_problem):
        return 1 / (1 + np.exp(-(level + of_seed + of_problem)))

    def draw(level, of_problem):
        of_seed = chance.normal(0, spread, (seeds, 1))
        rewards = chance.random((seeds, problems)) < accuracies(level, of_seed, of_problem)
        return [run(seed, row) for seed, row in enumerate(rewards.astype(float))]

    many = chance.normal(0, spread, 100_000), chance.normal(0, 1.5, 100_000)
    truth, better = accuracies(level, *many).mean(), accuracies(level + effect, *many).mean()
    held = [0, 0]
    for _ in range(trials):
        of_problem = chance.normal(0, 1.5, problems)
        first, second = draw(level, of_problem), draw(level + effect, of_problem)
        mean, difference = mean_accuracy(first), mean_difference(second, first)
        held[0] += mean.low <= truth <= mean.high
        held[1] += difference.low <= better - truth <= difference.high
    assert min(held) / trials >= 0.92  # 0.95 less two standard errors


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.2])
def test_of_seeds_that_tie_the_intervals_hold_the_truth_too(spread):
    chance, problems, ties, held = np.random.default_rng(3), 24, 100, [0, 0]
    of_seed = 0.5 + chance.normal(0, spread, 100_000)
    truth = np.clip(of_seed, 0, 1).mean()

    def draw_tie() -> list[Run]:
        while True:
            rewards = (chance.random((2, problems)) < chance.choice(of_seed, (2, 1))).astype(float)
            if rewards[0].sum() == rewards[1].sum():
                return [run(seed, row) for seed, row in enumerate(rewards)]

    for _ in range(ties):
        first, second = draw_tie(), draw_tie()
        mean, difference = mean_accuracy(first), mean_difference(second, first)
        held[0] += mean.low <= truth <= mean.high
        held[1] += difference.low <= 0 <= difference.high
    assert min(held) / ties >= 0.92
