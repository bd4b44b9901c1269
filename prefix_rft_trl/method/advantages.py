"""Advantages in groups with hybrid rollouts: one for a rollout's prefix tokens, one for its sampled tokens.

With m the mean reward of the prompt's on-policy rollouts and r the rollout's own reward:

| estimator             | prefix tokens   | continuation    | on-policy rollouts |
| --------------------- | --------------- | --------------- | ------------------ |
| `group`               | r - mean of all | r - mean of all | r - mean of all    |
| `on_policy`           | r - m           | r - m           | r - m              |
| `dr_grpo_prefix`      | r - m           | r               | r - m              |
| `dr_grpo_prefix_v2`   | -m              | 0               | r - m              |

`group` is the paper's text and GRPO's own computation, so nothing is computed for it here. The two `dr_grpo_prefix`
are those of the authors' code. In the first the continuation has no baseline: with 0/1 rewards it is never penalized.
In the second a demonstration that leads to the right answer is never reinforced.
"""

from collections.abc import Callable

import torch


Estimator = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def on_policy(rewards: torch.Tensor, baseline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return rewards - baseline, rewards - baseline


def dr_grpo_prefix(rewards: torch.Tensor, baseline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return rewards - baseline, rewards


def dr_grpo_prefix_v2(rewards: torch.Tensor, baseline: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (-baseline).expand_as(rewards), torch.zeros_like(rewards)


ON_POLICY_BASELINE_ESTIMATORS: dict[str, Estimator] = {
    "on_policy": on_policy,
    "dr_grpo_prefix": dr_grpo_prefix,
    "dr_grpo_prefix_v2": dr_grpo_prefix_v2,
}
ESTIMATORS = ("group", *ON_POLICY_BASELINE_ESTIMATORS)


def total_rewards(rewards_per_func: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum of each rollout's rewards; NaN for a rollout that no reward function scored.

    Args:
        rewards_per_func (`torch.Tensor`): shape (rollouts, functions), NaN where a function returned `None`.
        weights (`torch.Tensor`): shape (functions,).
    """
    totals = (rewards_per_func * weights).nansum(dim=1)
    return totals.masked_fill(rewards_per_func.isnan().all(dim=1), torch.nan)


def group_means(grouped: torch.Tensor) -> torch.Tensor:
    """Means over dimension 1 without NaN, from lowest to highest: the mean of equal rewards is their value."""
    lowest = grouped.nan_to_num(nan=torch.inf).amin(dim=1, keepdim=True)
    highest = grouped.nan_to_num(nan=-torch.inf).amax(dim=1, keepdim=True)
    return grouped.nanmean(dim=1, keepdim=True).clamp(lowest, highest)


def differ_from_mean(rewards: torch.Tensor, num_generations: int) -> torch.Tensor:
    """Rollouts whose reward is not the mean of their group, boolean, shape (rollouts,).

    The mean of equal rewards is rounded, and reward minus mean is not always 0.

    Args:
        rewards (`torch.Tensor`): shape (rollouts,), group after group; NaN where a rollout could not be scored.
        num_generations (`int`): rollouts in a group.
    """
    grouped = rewards.view(-1, num_generations)
    return (grouped != group_means(grouped)).flatten()


def on_policy_baseline_advantages(
    estimator: str, rewards: torch.Tensor, hybrid: torch.Tensor, num_generations: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages against the mean reward of a prompt's on-policy rollouts.

    Args:
        estimator (`str`): name in `ON_POLICY_BASELINE_ESTIMATORS`.
        rewards (`torch.Tensor`): shape (rollouts,), group after group; NaN where a rollout could not be scored.
        hybrid (`torch.Tensor`): shape (rollouts,), True for rollouts that started with a prefix.
        num_generations (`int`): rollouts in a group.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: advantages of prefix tokens and of sampled tokens, each of shape
        (rollouts,); 0 for a rollout without a score. A group without a scored on-policy rollout has the baseline 0.
    """
    grouped = rewards.view(-1, num_generations)
    hybrid_grouped = hybrid.view(-1, num_generations)
    baseline = group_means(grouped.masked_fill(hybrid_grouped, torch.nan)).nan_to_num(nan=0.0)
    prefix_advantages, advantages = ON_POLICY_BASELINE_ESTIMATORS[estimator](grouped, baseline)
    advantages = torch.where(hybrid_grouped, advantages, grouped - baseline)
    unscored = grouped.isnan()
    return prefix_advantages.masked_fill(unscored, 0.0).flatten(), advantages.masked_fill(unscored, 0.0).flatten()
