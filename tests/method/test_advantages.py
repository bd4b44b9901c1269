import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.advantages import (
    ON_POLICY_BASELINE_ESTIMATORS,
    differ_from_mean,
    on_policy_baseline_advantages,
    total_rewards,
)


Rollout = tuple[float, bool]  # its reward, whether it is hybrid
NAN = float("nan")


def advantages_by_hand(estimator: str, group: list[Rollout]) -> list[tuple[float, float]]:
    """(prefix, continuation) of each rollout, as in the table of the method."""
    scored = [reward for reward, hybrid in group if not hybrid and not math.isnan(reward)]
    mean = sum(scored) / len(scored) if scored else 0.0
    by_hand = []
    for reward, hybrid in group:
        table = {
            "on_policy": (reward - mean, reward - mean),
            "dr_grpo_prefix": (reward - mean, reward),
            "dr_grpo_prefix_v2": (-mean, 0.0),
        }
        prefix, continuation = table[estimator]
        if not hybrid:
            continuation = reward - mean
        by_hand.append((0.0, 0.0) if math.isnan(reward) else (prefix, continuation))
    return by_hand


def advantages_of(estimator: str, groups: list[list[Rollout]]) -> list[tuple[float, float]]:
    rewards, hybrid = zip(*(rollout for group in groups for rollout in group), strict=True)
    found = on_policy_baseline_advantages(
        estimator, torch.tensor(rewards, dtype=torch.float64), torch.tensor(hybrid), len(groups[0])
    )
    return list(zip(*(advantages.tolist() for advantages in found), strict=True))


rollouts = st.tuples(st.sampled_from([0.0, 1.0, 0.3, -2.0, NAN]), st.booleans())
batches = st.integers(1, 9).flatmap(
    lambda size: st.lists(st.lists(rollouts, min_size=size, max_size=size), min_size=1, max_size=4)
)


@pytest.mark.parametrize("estimator", ON_POLICY_BASELINE_ESTIMATORS)
@given(groups=batches)
@example(groups=[[(1.0, False), (0.0, False)]])
@example(groups=[[(1.0, True), (0.0, True)]])
@example(groups=[[(1.0, True), (NAN, False)], [(NAN, True), (1.0, False)]])
def test_advantages_are_those_of_the_table(estimator, groups):
    expected = [pair for group in groups for pair in advantages_by_hand(estimator, group)]
    for found, by_hand in zip(advantages_of(estimator, groups), expected, strict=True):
        assert found == pytest.approx(by_hand, abs=1e-12)


def test_total_reward_weighs_functions_and_skips_missing_rewards():
    rewards_per_func = torch.tensor([[1.0, 4.0], [1.0, NAN], [NAN, 4.0], [NAN, NAN], [0.0, 0.0]])
    found = total_rewards(rewards_per_func, torch.tensor([1.0, 0.5]))
    assert found.tolist() == pytest.approx([3.0, 1.0, 2.0, NAN, 0.0], nan_ok=True)


@given(
    st.sampled_from([0.1, 0.3, -0.7, 1.1, 2.2]), st.integers(2, 70), st.sampled_from([torch.float32, torch.float64])
)
def test_equal_rewards_have_no_advantage(reward, size, dtype):
    rewards = torch.full((2 * size,), reward, dtype=dtype)
    rewards[-1] += 1
    rewards[0] = NAN
    assert differ_from_mean(rewards, size).tolist() == [True] + [False] * (size - 1) + [True] * size
    hybrid = torch.zeros(2 * size, dtype=torch.bool)
    prefix, sampled = on_policy_baseline_advantages("on_policy", rewards, hybrid, size)
    assert prefix[:size].tolist() == sampled[:size].tolist() == [0.0] * size
    assert sampled[size:].tolist() == pytest.approx([-1 / size] * (size - 1) + [1 - 1 / size], abs=1e-6)
