"""Figures that are derived from successes, compared with enumeration and integration."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from scipy.stats import beta

from prefix_rft_trl.advice.probe_result import Probed, Share, pooled_share


def enumerated(successes: int, tries: int, size: int) -> float:
    answers = [1] * successes + [0] * (tries - successes)
    groups = list(combinations(answers, size))
    return sum(len({*group}) == 1 for group in groups) / len(groups)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_groups_are_counted_among_the_tries(size):
    found = Probed((0, 1, 5, 8), (8, 8, 8, 8)).equal_groups(size)
    assert found == pytest.approx(np.mean([enumerated(right, 8, size) for right in (0, 1, 5, 8)]))


def test_the_estimate_is_unbiased():
    rng = np.random.default_rng(0)
    right = rng.binomial(10, 0.2, 20_000).tolist()
    assert Probed(tuple(right), (10,) * 20_000).equal_groups(4) == pytest.approx(0.2**4 + 0.8**4, abs=0.01)


def test_fewer_tries_than_a_group_has_are_completed_by_a_posterior():
    probed = Probed((0, 3), (4, 4))
    prior = 3.5 / 9
    expected = [
        beta(right + prior, 4 - right + 1 - prior).expect(lambda share: share**8 + (1 - share) ** 8)
        for right in (0, 3)
    ]
    assert probed.equal_groups(8) == pytest.approx(np.mean(expected), rel=1e-6)
    assert Probed((0,) * 48, (4,) * 48).equal_groups(8) > 0.98, "nothing was solved: there is no gradient"
    assert isnan(Probed((), ()).equal_groups(8))


@pytest.mark.parametrize("k", [1, 3, 4])
def test_pass_at_k(k):
    probed = Probed((0, 1, 2, 4, 1), (4, 4, 4, 4, 3))
    of_each = [
        np.mean([max(chosen) for chosen in combinations([1] * right + [0] * (tries - right), k)])
        for right, tries in zip(probed.successes, probed.tries, strict=True)
        if tries >= k
    ]
    found = probed.pass_at_k(k)
    assert found.value == pytest.approx(np.mean(of_each))
    assert 0 <= found.interval[0] < found.value < found.interval[1] <= 1
    with pytest.raises(ValueError, match=r"pass@5 needs"):
        probed.pass_at_k(5)


def test_the_interval_of_a_share_is_wilsons():
    assert Share(5, 10).interval == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert Share(0, 10).interval == pytest.approx((0, 0.2775), abs=1e-4)
    assert Share(0, 0).interval == (0.0, 1.0)
    assert isnan(Share(0, 0).value)


def clustered(problems: int, tries: int, seed: int = 0) -> Probed:
    """Half of the problems are hardly ever solved."""
    rng = np.random.default_rng(seed)
    rates = np.where(rng.random(problems) < 0.6, 0.02, rng.beta(1.5, 2, problems))
    return Probed(tuple(rng.binomial(tries, rates).tolist()), (tries,) * problems)


def test_the_interval_of_clustered_answers_is_that_of_drawing_problems_again():
    found, rng = clustered(48, 8), np.random.default_rng(1)
    again = [np.mean(rng.choice(found.successes, 48)) / 8 for _ in range(20_000)]
    low, high = found.share.interval
    assert high - low == pytest.approx(np.diff(np.percentile(again, (2.5, 97.5)))[0], rel=0.1)
    wilson = Share(found.share.count, found.share.of).interval
    assert high - low > 1.5 * (wilson[1] - wilson[0])


def test_the_interval_of_a_share_has_the_mean_in_95_of_100():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(1000):
        rates = rng.beta(0.5, 1.5, 48)
        low, high = Probed(tuple(rng.binomial(8, rates).tolist()), (8,) * 48).share.interval
        hits += low <= 0.25 <= high
    assert 920 <= hits <= 975


def test_effective_draws_lie_between_problems_and_answers():
    assert Probed((0, 8, 8, 0), (8,) * 4).effective_draws == 4, "all answers to a problem are the same"
    assert Probed((4, 4, 4, 4), (8,) * 4).effective_draws == 32, "problems do not differ"
    assert Probed((1, 0, 1), (1, 1, 1)).effective_draws == 3
    assert Probed((0,) * 48, (8,) * 48).effective_draws == 48, "nothing tells how alike they are"
    assert Probed((3,), (8,)).effective_draws == 1
    assert Probed((0, 0), (8, 0)).effective_draws == 1
    assert Probed((), ()).share.interval == (0.0, 1.0)


def test_samples_of_the_same_problems_are_pooled_by_problem():
    alike = Probed((2, 0, 2, 0), (2,) * 4)
    assert pooled_share([alike, alike, alike]) == Share(12, 24, 4.0)
    assert pooled_share([alike, Probed((2, 0), (2,) * 2)]) == Share(6, 12, 4.0)
    assert pooled_share([]) == Share(0, 0, 0.0)
