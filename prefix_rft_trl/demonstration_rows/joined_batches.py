"""Demonstrations as further rows of the micro-batches that TRL has made of its rollouts.

They are context to the policy loss, which their `tool_mask` of 0 keeps out of its sums and counts, and prefixes from
their first token to the end of sequence, whose loss is a term of its own.
"""

from dataclasses import dataclass
from typing import Any

import torch

from prefix_rft_trl.passes.columns import PassColumns


# Losses whose sum is divided by the number of rows
MEANS_OVER_ROWS = ("dr_grpo", "grpo", "sapo", "luspo")
# What a demonstration has no value of: neutral where a product or a logarithm is taken before the mask
NEUTRAL = {
    "importance_sampling_ratio": 1.0,
    "ref_per_token_logps": -1e4,  # with 0 the estimate of the divergence overflows where the policy is certain
}


@dataclass(frozen=True)
class EncodedDemonstration:
    """Token ids of a prompt and of its demonstration with the end of sequence; none of one that is left out."""

    prompt_ids: list[int]
    completion_ids: list[int]


Rows = list[EncodedDemonstration]


def columns_of(batches: list[dict[str, Any]], rows: list[Rows], multiple: int | None) -> PassColumns:
    """Columns that hold the rollouts of all micro-batches, and the demonstrations of all."""
    whole = PassColumns(batches[0]["prompt_ids"].size(1), batches[0]["completion_ids"].size(1))
    needed = [PassColumns(len(row.prompt_ids), len(row.completion_ids)) for part in rows for row in part]
    every, step = PassColumns.of_all([whole, *needed]), multiple or 1
    return PassColumns(-(-every.prompt // step) * step, -(-every.completion // step) * step)


def joined_with(
    batch: dict[str, Any], rows: Rows, shares: torch.Tensor, columns: PassColumns, pad_id: int, loss_type: str
) -> dict[str, Any]:
    """A micro-batch with demonstrations as further rows, all of them as wide as `columns`.

    Args:
        batch (`dict`): of rollouts, with the entries about prefixes.
        rows (`list[EncodedDemonstration]`): those that follow.
        shares (`torch.Tensor`): shape (demonstrations,), the part of the weight 1 that each of their tokens has.
        columns (`PassColumns`): of prompts and completions.
        pad_id (`int`): token of the padding.
        loss_type (`str`): where it divides by the number of rows, the advantages of the rollouts make up for it.
    """
    rollouts, completion_width = batch["completion_ids"].shape
    lengths = torch.tensor([len(row.completion_ids) for row in rows], device=shares.device)
    given = {
        "prompt_ids": _padded([row.prompt_ids for row in rows], columns.prompt, pad_id, on_the_left=True),
        "prompt_mask": _padded([[1] * len(row.prompt_ids) for row in rows], columns.prompt, 0, on_the_left=True),
        "completion_ids": _padded([row.completion_ids for row in rows], columns.completion, pad_id),
        "completion_mask": _padded([[1] * len(row.completion_ids) for row in rows], columns.completion, 0),
        "prefix_lengths": lengths,
        "prefix_mask": torch.arange(columns.completion, device=shares.device) < lengths[:, None],
        "prefix_advantages": torch.ones_like(shares),
        "prefix_shares": shares,
    }
    scale = row_weight(loss_type, rollouts, len(rows))
    batch = {"tool_mask": torch.ones_like(batch["completion_mask"]), **batch}
    batch |= {"advantages": batch["advantages"] * scale}

    def extended(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [*value, *[None] * len(rows)]
        if not (isinstance(value, torch.Tensor) and value.dim()):
            return value
        filler = pad_id if name in ("prompt_ids", "completion_ids") else NEUTRAL.get(name, 0)
        if name in ("prompt_ids", "prompt_mask"):
            value = _widened(value, columns.prompt, filler, on_the_left=True)
        elif value.dim() == 2 and value.size(1) == completion_width:
            value = _widened(value, columns.completion, filler)
        added = given.get(name, value.new_full((len(rows), *value.shape[1:]), filler))
        return torch.cat([value, added.to(value.device, value.dtype)])

    return {name: extended(name, value) for name, value in batch.items()}


def row_weight(loss_type: str, rollouts: int, demonstrations: int) -> float:
    """By how much the demonstrations of a micro-batch lower the weight of its rollouts in a loss, as a factor."""
    return (rollouts + demonstrations) / rollouts if loss_type in MEANS_OVER_ROWS else 1.0


def demonstration_shares(
    normalization: str, tokens: torch.Tensor, totals: torch.Tensor, micro_steps: int
) -> torch.Tensor:
    """The part of the weight 1 that each token of a demonstration has.

    `"tokens"` gives all tokens of an optimizer step the same, `"prompts"` all its demonstrations. They add up to 1
    over a generation batch and all processes, in equal parts over its optimizer steps. Where it is not made of whole
    steps, it stands for one.

    Args:
        normalization (`str`): `"tokens"` or `"prompts"`.
        tokens (`torch.Tensor`): shape (micro-batches, demonstrations of one), of this process.
        totals (`torch.Tensor`): shape (micro-batches, 2), tokens and demonstrations that have any, of all processes.
        micro_steps (`int`): micro-batches of an optimizer step.

    Returns:
        `torch.Tensor`: shape (micro-batches, demonstrations of one), in float32.
    """
    together = micro_steps if len(totals) % micro_steps == 0 else len(totals)
    of_steps = totals.float().view(-1, together, 2).sum(dim=1).clamp(min=1).repeat_interleave(together, dim=0)
    per_token = 1 / of_steps[:, 0:1] if normalization == "tokens" else 1 / (of_steps[:, 1:2] * tokens.clamp(min=1))
    return (per_token * together / len(totals)).expand(tokens.shape).contiguous()


def _padded(rows: list[list[int]], width: int, filler: int, on_the_left: bool = False) -> torch.Tensor:
    padding = ([filler] * (width - len(row)) for row in rows)
    return torch.tensor(
        [[*pad, *row] if on_the_left else [*row, *pad] for row, pad in zip(rows, padding, strict=True)]
    )


def _widened(tensor: torch.Tensor, width: int, filler: float, on_the_left: bool = False) -> torch.Tensor:
    missing = width - tensor.size(1)
    sides = (missing, 0) if on_the_left else (0, missing)
    return torch.nn.functional.pad(tensor, sides, value=filler)
