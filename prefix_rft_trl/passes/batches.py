"""Rows of a batch, a dictionary of tensors and lists with an entry for each row, and of what holds for all."""

from typing import Any

import torch


def joined(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """One batch of several, row after row; what holds for all rows is that of the first."""
    return {name: _join([batch[name] for batch in batches]) for name in batches[0]}


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values) if values[0].dim() else values[0]
    return [row for value in values for row in value] if isinstance(values[0], list) else values[0]


def picked(batch: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Some rows of a batch, in this order."""
    return {name: _pick(value, rows) for name, value in batch.items()}


def _pick(value: Any, rows: list[int]) -> Any:
    if isinstance(value, torch.Tensor):
        return value[rows] if value.dim() else value
    return [value[row] for row in rows] if isinstance(value, list) else value


def without_tokens(batch: dict[str, Any], rows: torch.Tensor) -> dict[str, Any]:
    """A batch in which some rows have no token that counts, and log-probabilities of 0, as padding has in TRL.

    Args:
        rows (`torch.Tensor`): boolean, shape (rows,).
    """
    per_token = ("completion_mask", "prefix_mask", "old_per_token_logps", "demonstration_logps")
    return batch | {name: batch[name].masked_fill(rows[:, None], 0) for name in per_token if name in batch}
