"""Denominators of the sum over demonstration tokens, each counted over all processes and not over a micro-batch."""

import torch


NORMALIZATIONS = ("tokens", "prompts", "loss")


def prefix_shares(normalization: str, prefix_tokens: torch.Tensor, num_generations: int) -> torch.Tensor:
    """The part of the weight 1 that each prefix token of a rollout has.

    `"tokens"` gives all prefix tokens the same. `"prompts"` divides it among the prompts, then among the rollouts of a
    prompt that have a prefix, then among the tokens of the prefix. With `"loss"` each has 1: the loss type divides.

    Args:
        normalization (`str`): name in `NORMALIZATIONS`.
        prefix_tokens (`torch.Tensor`): number of each rollout's prefix tokens that count in the loss, shape
            (rollouts of all processes,), group after group.
        num_generations (`int`): rollouts in a group.

    Returns:
        `torch.Tensor`: shape (rollouts,), in float32; without a prefix, that of a prefix of one token.
    """
    counts = prefix_tokens.float()
    if normalization == "loss":
        return torch.ones_like(counts)
    if normalization == "tokens":
        return (1 / counts.sum().clamp(min=1)).expand_as(counts)
    hybrids = (counts.view(-1, num_generations) > 0).sum(dim=1).clamp(min=1).repeat_interleave(num_generations)
    prompts = len(counts) // num_generations
    return 1 / (counts.clamp(min=1) * hybrids * prompts)
