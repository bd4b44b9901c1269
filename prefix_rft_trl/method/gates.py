"""The gate of a demonstration: whether it is trained, decided by the rollouts that its group has sampled in this step.

HPT (arXiv 2509.04419, Eq. 13), SuperRL (arXiv 2506.01096): demonstrations where the policy fails, rewards elsewhere.
"""

import torch


def rollouts_that_leave(
    success_rates: torch.Tensor, hybrid: torch.Tensor, gate: float, drops_rollouts: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hybrid rollouts behind a closed gate, and on-policy rollouts behind an open one.

    Args:
        success_rates (`torch.Tensor`): of each group's on-policy rollouts, shape (groups,).
        hybrid (`torch.Tensor`): boolean, shape (rollouts,), group after group.
        gate (`float`): highest success rate at which it is open.
        drops_rollouts (`bool`): whether on-policy rollouts leave at all. They stay where there is no hybrid rollout.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: boolean, each of shape (rollouts,).
    """
    grouped = hybrid.view(len(success_rates), -1)
    is_open = (success_rates <= gate).unsqueeze(1)
    leaves_demonstration = grouped & ~is_open
    leaves_reward = ~grouped & is_open & grouped.any(dim=1, keepdim=True) & drops_rollouts
    return leaves_demonstration.flatten(), leaves_reward.flatten()
