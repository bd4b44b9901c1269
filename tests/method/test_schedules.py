import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.schedules import SCHEDULES, ratio_bounds


@pytest.mark.parametrize(
    ("schedule", "at_0", "at_125", "at_250", "at_500"),
    [
        ("cosine", 0.95, 0.05 + 0.45 * (1 + math.sqrt(0.5)), 0.5, 0.05),
        ("linear", 0.95, 0.725, 0.5, 0.05),
        ("constant", 0.05, 0.05, 0.05, 0.05),
    ],
)
def test_lower_bound_follows_the_papers_schedule(schedule, at_0, at_125, at_250, at_500):
    expected = {0: at_0, 125: at_125, 250: at_250, 500: at_500, 501: 0.05, 100_000: 0.05}
    found = {step: ratio_bounds(schedule, step, decay_steps=500, low=0.05, high=0.95) for step in expected}
    assert {step: low for step, (low, _) in found.items()} == pytest.approx(expected)
    assert {high for _, high in found.values()} == {0.95}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_prefixes_never_grow_again_during_a_run(schedule):
    lows = [ratio_bounds(schedule, step, 500, 0.05, 0.95)[0] for step in range(600)]
    assert lows == sorted(lows, reverse=True)


@given(
    schedule=st.sampled_from(sorted(SCHEDULES)),
    step=st.integers(0, 10_000),
    decay_steps=st.integers(0, 10_000),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
@example(schedule="cosine", step=0, decay_steps=500, ends=[0.03, 0.3])  # 0.03 + (0.3 - 0.03) is above 0.3
def test_bounds_stay_between_low_and_high(schedule, step, decay_steps, ends):
    low, high = ends
    low_t, high_t = ratio_bounds(schedule, step, decay_steps, low, high)
    assert low <= low_t <= high_t == high
