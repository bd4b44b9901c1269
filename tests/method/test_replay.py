"""Which problem of the bank is replayed, with which of its successes, and what an attempt says about a problem."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.method.replay import (
    Attempt,
    bucket_of_attempt,
    bucket_probabilities,
    draw_problems,
    most_certain,
    read_attempts,
)


def keys(number, step=0):
    return [(7, step, group) for group in range(number)]


@pytest.mark.parametrize(
    ("solved", "attempted", "bucket"),
    [(0, 8, 0), (1, 8, 1), (7, 8, 7), (8, 8, 8), (0, 7, 0), (7, 7, 8), (1, 7, 1), (6, 7, 7), (1, 2, 4), (1, 20, 1)],
)
def test_bucket_is_the_number_of_solved_rollouts_of_a_whole_group(solved, attempted, bucket):
    assert bucket_of_attempt(solved, attempted, 8) == bucket


@given(st.integers(1, 40).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), st.integers(2, 40))
def test_only_none_and_all_are_at_the_ends(attempt, num_generations):
    solved, attempted = attempt
    bucket = bucket_of_attempt(solved, attempted, num_generations)
    assert (bucket == 0) == (solved == 0)
    assert (bucket == num_generations) == (solved == attempted)
    assert 0 <= bucket <= num_generations


def test_buckets_have_the_normal_density_around_half_of_the_group():
    found = bucket_probabilities([1, 3, 4, 5], 8)
    densities = [math.exp(-((k - 4) ** 2) / 2) for k in (1, 3, 4, 5)]
    assert found.tolist() == pytest.approx([density / sum(densities) for density in densities])


def test_groups_of_hundreds_have_a_bucket_to_draw_from():
    assert bucket_probabilities([1, 2], 1000).tolist() == pytest.approx([0, 1], abs=1e-12)


def test_bucket_is_drawn_before_its_problem():
    # 90 problems at 1 of 8, two at 4 and one at 5: how many a bucket holds does not count
    buckets = {**dict.fromkeys(range(90), 1), 90: 4, 91: 4, 92: 5}
    drawn = Counter(draw_problems(buckets, 8, keys(1, step))[0] for step in range(4000))
    total = 1 + math.exp(-0.5) + math.exp(-4.5)
    assert sum(drawn[problem] for problem in range(90)) / 4000 == pytest.approx(math.exp(-4.5) / total, abs=0.005)
    assert drawn[90] / 4000 == pytest.approx(0.5 / total, abs=0.03)
    assert drawn[91] / 4000 == pytest.approx(0.5 / total, abs=0.03)
    assert drawn[92] / 4000 == pytest.approx(math.exp(-0.5) / total, abs=0.03)


@given(st.dictionaries(st.integers(0, 2**63 - 1), st.integers(0, 7), max_size=12), st.integers(0, 15), st.randoms())
def test_no_problem_is_drawn_twice_nor_one_that_nobody_solved(buckets, groups, random):
    drawn = draw_problems(buckets, 8, keys(groups))
    solved = {problem for problem, bucket in buckets.items() if bucket}
    found = [problem for problem in drawn if problem is not None]
    assert len(drawn) == groups
    assert len(found) == min(groups, len(solved)) == len(set(found))
    assert set(found) <= solved
    assert None not in drawn[: len(found)]
    shuffled = list(buckets)
    random.shuffle(shuffled)  # as a bank that was filled in another order
    assert draw_problems({problem: buckets[problem] for problem in shuffled}, 8, keys(groups)) == drawn


def test_draws_differ_between_steps_and_seeds():
    buckets = dict.fromkeys(range(1000), 4)
    draws = {tuple(draw_problems(buckets, 8, [(seed, step, 0)])) for seed in range(3) for step in range(3)}
    assert len(draws) > 5


@pytest.mark.parametrize(
    ("mean_entropies", "chosen"), [([1.0, 0.5], 1), ([0.5, 1.0], 0), ([0.5], 0), ([0.3, 0.3, 0.4], 1)]
)
def test_most_certain_success_has_the_lowest_mean_entropy(mean_entropies, chosen):
    assert most_certain(mean_entropies) == chosen


def attempts(rows, num_generations=4):
    """From rows of one letter: o on-policy, w a whole success that is replayed, p a prefix; upper case is solved."""
    return read_attempts(
        problems=[place // num_generations for place in range(len(rows))],
        on_policy=[row in "oO" for row in rows],
        replayed=[row in "wW" for row in rows],
        solved=[row.isupper() for row in rows],
        finished=[True] * len(rows),
        num_generations=num_generations,
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("oooo", (0, [])),
        ("OooO", (2, [0, 3])),
        ("OOOO", (4, [])),
        ("Wooo", (1, [])),  # which replays it: it stays in its bucket
        ("wooo", (1, [])),  # a gate or a noisy reward does not take back that it was a success
        ("WoOo", (2, [2])),
        ("WOOO", (4, [])),
        ("Pooo", (0, [])),  # what a prefix led to is none of the policy's own
        ("pOOO", (4, [])),
        ("PoOO", (3, [2, 3])),
    ],
)
def test_attempt_counts_own_rollouts_and_whole_successes(rows, expected):
    (attempt,) = attempts(rows)
    assert (attempt.bucket, attempt.successes) == expected


def test_group_of_prefixes_alone_is_no_attempt():
    assert attempts("PPpp" + "oOoo") == [Attempt(1, 1, [5])]


def test_rollout_that_was_cut_off_counts_and_is_not_stored():
    found = read_attempts([5] * 2, [True] * 2, [False] * 2, [True, False], [False, True], 2)
    assert found == [Attempt(5, 1, [])]
