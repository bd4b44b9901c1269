"""Figures that are derived from successes, compared with enumeration and integration."""

from itertools import combinations
from math import isnan

import numpy as np
import pytest
from scipy.stats import beta

from prefix_rft_trl.advice.probe_result import Probed, Share


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
