"""Which prefix tokens are trained: the entropy clipping of the paper, and its ablations."""

from collections.abc import Callable

import torch


HighEntropyMask = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


def top_entropy(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """The paper's entropy clipping: one threshold for all prefix tokens of a forward batch, over all processes."""
    return high_entropy_mask(entropies.float(), prefix_mask, 1 - quantile)  # TRL's threshold is in float32


def top_entropy_per_rollout(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """One threshold per hybrid rollout, so that the selection does not depend on the micro-batches."""
    prefix_entropies = entropies.float().masked_fill(~prefix_mask, torch.nan)
    thresholds = torch.nanquantile(prefix_entropies, 1 - quantile, dim=1, keepdim=True)
    return (prefix_entropies >= thresholds) & prefix_mask


def bottom_entropy(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """The tokens with the lowest entropy (the paper's ablation)."""
    return high_entropy_mask(-entropies.float(), prefix_mask, 1 - quantile)


def no_token(
    entropies: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, high_entropy_mask: HighEntropyMask
) -> torch.Tensor:
    """None: prefixes are context only (the paper's ablation)."""
    return torch.zeros_like(prefix_mask)


Selection = Callable[[torch.Tensor, torch.Tensor, float, HighEntropyMask], torch.Tensor]
SELECTIONS: dict[str, Selection] = {
    "top_entropy": top_entropy,
    "top_entropy_per_rollout": top_entropy_per_rollout,
    "bottom_entropy": bottom_entropy,
    "random": top_entropy,  # of noise that is passed in place of the entropies
    "none": no_token,
}
