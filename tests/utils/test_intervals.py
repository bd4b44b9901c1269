import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.utils.intervals import Estimate, estimate


# 97.5% quantiles of Student's t by degrees of freedom.
T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=10))
def test_the_interval_is_students_t_over_seeds(values):
    found = estimate(values)
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.half_width == pytest.approx(T_TABLE[len(values) - 1] * standard_error, rel=5e-4, abs=1e-12)
    assert found.seeds == len(values)


def test_one_seed_has_no_interval_and_none_has_no_mean():
    assert estimate([0.5]) == Estimate(0.5, None, 1)
    with pytest.raises(ValueError, match="leave out"):
        estimate([])
