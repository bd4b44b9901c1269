"""Which prefix tokens are trained: a share of them, by a score such as their entropy (the paper's entropy clipping).

A share q of n tokens is those at or above the quantile 1 - q of their scores: n - ceil((1 - q) (n - 1)) of them.
Scores that are equal there (a policy is often certain of many tokens, 0 nats each) do not add to them: of equal ones
the first in their rollouts are kept, and at the same place those of the first rollout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch


HighEntropyMask = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class AllProcesses:
    """What ranks the tokens of all processes together.

    Attributes:
        high_entropy_mask (`Callable`): TRL's `get_high_entropy_mask`, one quantile over all processes.
        gather (`Callable`): concatenates the tensors of all processes along their first dimension, in their order.
        index (`int`): of this process.
        order (`torch.Tensor`): shape (batch,), of each row among the rollouts of all processes, unshuffled.
    """

    high_entropy_mask: HighEntropyMask
    gather: Callable[[torch.Tensor], torch.Tensor]
    index: int
    order: torch.Tensor


def share_of_tokens(number: torch.Tensor, share: float) -> torch.Tensor:
    """How many of so many tokens a share is, where no scores are equal: what the quantile is of, in float32 as there.

    Args:
        number (`torch.Tensor`): of tokens, any shape.
        share (`float`): above 0, at most 1.
    """
    below = (1 - share) * (number - 1)
    return number - torch.ceil(below * (1 - 2**-23) - 1e-6).clamp(min=0).long()


def top_entropy(
    scores: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, everyone: AllProcesses
) -> torch.Tensor:
    """The prefix tokens with the highest scores, of a forward batch over all processes.

    Args:
        scores (`torch.Tensor`): shape (batch, tokens).
        prefix_mask (`torch.Tensor`): boolean, same shape.
        quantile (`float`): share of the prefix tokens, above 0.
        everyone (`AllProcesses`): whose tokens they are ranked with.

    Returns:
        `torch.Tensor`: boolean, same shape.
    """
    scores = scores.float()  # as TRL's threshold
    kept = everyone.high_entropy_mask(scores, prefix_mask, 1 - quantile)
    counts = everyone.gather(torch.stack([prefix_mask.sum(), kept.sum()]).unsqueeze(0)).cpu()
    number = int(share_of_tokens(counts[:, 0].sum().double(), quantile))
    return kept if counts[:, 1].sum() <= number else _first_of_equal(scores, kept, number, counts[:, 1], everyone)


def _first_of_equal(
    scores: torch.Tensor, kept: torch.Tensor, number: int, of_processes: torch.Tensor, everyone: AllProcesses
) -> torch.Tensor:
    """The `number` highest of the tokens that all processes keep; `of_processes` says how many each keeps."""
    rows, places = kept.nonzero(as_tuple=True)
    own = scores.new_zeros(int(of_processes.max()), 3)
    own[: len(rows)] = torch.stack([scores[rows, places], places.float(), everyone.order[rows].float()], dim=1)
    found = everyone.gather(own.unsqueeze(0))
    is_token = torch.arange(own.size(0), device=own.device) < of_processes.to(own.device).unsqueeze(1)
    all_scores, all_places, all_rows = found[is_token].unbind(dim=1)
    order = torch.argsort(all_rows, stable=True)
    order = order[torch.argsort(all_places[order], stable=True)]
    order = order[torch.argsort(all_scores[order], descending=True, stable=True)]
    is_first = torch.zeros(len(order), dtype=torch.bool, device=own.device)
    is_first[order[:number]] = True
    start = int(of_processes[: everyone.index].sum())
    result = kept.clone()
    result[rows, places] = is_first[start : start + len(rows)]
    return result


def bottom_entropy(
    scores: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, everyone: AllProcesses
) -> torch.Tensor:
    """The tokens with the lowest scores (the paper's ablation)."""
    return top_entropy(-scores, prefix_mask, quantile, everyone)


def top_entropy_per_rollout(
    scores: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, everyone: AllProcesses
) -> torch.Tensor:
    """Of each hybrid rollout its own share, so that the selection does not depend on the micro-batches."""
    prefix_scores = scores.float().masked_fill(~prefix_mask, torch.nan)
    thresholds = torch.nanquantile(prefix_scores, 1 - quantile, dim=1, keepdim=True)
    kept = (prefix_scores >= thresholds) & prefix_mask
    numbers = share_of_tokens(torch.arange(kept.size(1) + 1, dtype=torch.float64), quantile).to(kept.device)
    order = torch.argsort(prefix_scores.masked_fill(~kept, -torch.inf), dim=1, descending=True, stable=True)
    places = torch.arange(kept.size(1), device=kept.device).expand_as(order)
    ranks = torch.empty_like(order).scatter(1, order, places)
    return kept & (ranks < numbers[prefix_mask.sum(dim=1)].unsqueeze(1))


def no_token(scores: torch.Tensor, prefix_mask: torch.Tensor, quantile: float, everyone: AllProcesses) -> torch.Tensor:
    """None: prefixes are context only (the paper's ablation)."""
    return torch.zeros_like(prefix_mask)


Selection = Callable[[torch.Tensor, torch.Tensor, float, AllProcesses], torch.Tensor]
SELECTIONS: dict[str, Selection] = {
    "top_entropy": top_entropy,
    "top_entropy_per_rollout": top_entropy_per_rollout,
    "bottom_entropy": bottom_entropy,
    "random": top_entropy,  # of noise that is passed in place of the entropies
    "none": no_token,
}
