"""Metrics of hybrid rollouts: sums are reduced over processes, then divided."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator

from .rewards.answers import answer_as_word
from .rollouts import RolloutBatch
from .run.completions import Completion, prefix_characters


def token_sums(
    prefix_mask: torch.Tensor,
    selected: torch.Tensor,
    sampled_mask: torch.Tensor,
    entropies: torch.Tensor,
    clipped: torch.Tensor | None = None,
) -> torch.Tensor:
    """Sums over the tokens of a forward batch, to be added up over a step and its processes for [`token_metrics`].

    Args:
        prefix_mask, selected, sampled_mask (`torch.Tensor`): boolean, shape (batch, tokens): prefix tokens, those of
            them that are trained, and tokens that the policy sampled.
        entropies (`torch.Tensor`): shape (batch, tokens), in nats.
        clipped (`torch.Tensor`, *optional*): [`clipped_tokens`], if the loss clips prefix tokens.
    """
    return torch.stack(
        [
            prefix_mask.sum(),
            selected.sum(),
            sampled_mask.sum(),
            (entropies * selected).sum(),
            (entropies * (prefix_mask & ~selected)).sum(),
            (entropies * sampled_mask).sum(),
            entropies.new_tensor(math.nan) if clipped is None else (clipped & selected).sum(),
        ]
    ).float()


def token_metrics(sums: torch.Tensor, rollouts: int) -> dict[str, float]:
    """Metrics of an optimizer step; NaN where nothing was counted.

    Args:
        sums (`torch.Tensor`): [`token_sums`] of the step, over all processes.
        rollouts (`int`): of the step, over all processes.
    """
    prefix, selected, sampled, entropy_selected, entropy_others, entropy_sampled, clipped = sums.tolist()
    return {
        "prefix/trained_token_share": ratio(selected, selected + sampled),
        "prefix/trained_tokens": ratio(selected, rollouts),
        "prefix/kept_share": ratio(selected, prefix),
        "prefix/clip_ratio": ratio(clipped, selected),
        "prefix/entropy_kept": ratio(entropy_selected, selected),
        "prefix/entropy_dropped": ratio(entropy_others, prefix - selected),
        "policy_entropy": ratio(entropy_sampled, sampled),
    }


def clipped_tokens(
    logps: torch.Tensor, old_logps: torch.Tensor | None, advantages: torch.Tensor, low: float, high: float
) -> torch.Tensor:
    """Tokens whose ratio PPO's loss clips, so that they carry no gradient, boolean, shape (batch, tokens).

    Args:
        logps (`torch.Tensor`): shape (batch, tokens), of the policy that is trained.
        old_logps (`torch.Tensor` or `None`): same shape, of the policy at sampling time; `None` if unchanged.
        advantages (`torch.Tensor`): shape (batch,).
        low, high (`float`): how far the ratio may be below and above 1.
    """
    if old_logps is None:
        return torch.zeros_like(logps, dtype=torch.bool)
    ratios, signs = torch.exp(logps.detach() - old_logps), advantages.sign().unsqueeze(1)
    return ((ratios < 1 - low) & (signs < 0)) | ((ratios > 1 + high) & (signs > 0))


class TokenSums:
    """Sums over the tokens of an optimizer step's forward batches, divided when it ends."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None

    def add(self, *tokens: torch.Tensor | None) -> None:
        """Adds the [`token_sums`] of a forward batch."""
        sums = token_sums(*tokens)
        self._sums = sums if self._sums is None else self._sums + sums

    def take_metrics(self, accelerator: Accelerator, rollouts: int) -> dict[str, float]:
        """[`token_metrics`] over all processes, without those of which nothing was counted, and starts anew.

        Args:
            rollouts (`int`): of the step, in this process.
        """
        if self._sums is None:
            return {}
        sums, self._sums = accelerator.reduce(self._sums, reduction="sum"), None
        metrics = token_metrics(sums, rollouts * accelerator.num_processes)
        return {name: value for name, value in metrics.items() if not math.isnan(value)}


def rollout_rows(
    batch: RolloutBatch, prefix_texts: Sequence[str], answers: Sequence[object], completion_ids: Sequence[list[int]]
) -> torch.Tensor:
    """The input of [`rollout_metrics`] for the rollouts of one process, shape (rollouts, 8), float32."""
    tool_tokens = batch.tool_tokens or [0] * len(batch.prefixes)
    lengths = [len(ids) - results for ids, results in zip(completion_ids, tool_tokens, strict=True)]
    columns = zip(batch.assignments, batch.prefixes, prefix_texts, answers, lengths, strict=True)
    return torch.tensor(
        [
            [
                assignment.planned,
                len(prefix.given_ids),
                prefix.share,
                holds_answer(text, answer),
                prefix.states_answer,
                length,
                len(prefix.ids),
                prefix.demonstration_length,
            ]
            for assignment, prefix, text, answer, length in columns
        ]
    )


def completion_columns(
    batch: RolloutBatch, completions: Sequence[Completion], prefix_texts: Sequence[str]
) -> dict[str, list[Any]]:
    """Columns of the logged completions of one process: whether hybrid, the prefix's length in tokens and characters,
    the place of its demonstration among those of the prompt and, with tools, the number of turns that it has part of.

    Tokens of a hint count, which stands in the prompt: characters are those at the start of the completion, or of its
    last message.

    Args:
        batch (`RolloutBatch`): of the completions.
        completions (`Sequence`): text or messages.
        prefix_texts (`Sequence[str]`): prefixes of the completions or, of messages, of the last.
    """
    lengths = [len(prefix.given_ids) for prefix in batch.prefixes]
    turns = [len(prefix.spans) if prefix.pieces else int(bool(prefix.ids)) for prefix in batch.prefixes]
    return ({"prefix_turns": turns} if batch.tool_tokens else {}) | {
        "hybrid": [length > 0 for length in lengths],
        "prefix_length": lengths,
        "prefix_characters": [prefix_characters(*pair) for pair in zip(completions, prefix_texts, strict=True)],
        "demonstration": [
            assignment.index if length else None for assignment, length in zip(batch.assignments, lengths, strict=True)
        ],
    }


def rollout_metrics(batch: RolloutBatch, rows: torch.Tensor) -> dict[str, float]:
    """Metrics of a generation batch, over the rollouts of all processes.

    Args:
        batch (`RolloutBatch`): with the rewards of all processes.
        rows (`torch.Tensor`): [`rollout_rows`] of all processes, shape (rollouts, 8): whether a hybrid rollout was
            planned, length in tokens of its prefix or hint (0 without one), its share of the demonstration's tokens,
            whether it contains the right answer, whether it reaches into the demonstration's last statement of one
            (both NaN where that cannot be determined), completion length in tokens, those of a prefix in it, and those
            of the demonstration (NaN without a prefix).
    """
    planned, lengths, shares, holds, states, completion_lengths, tokens, demonstration_lengths = rows.unbind(dim=1)
    hybrid, rewards = lengths > 0, batch.rewards
    low, high = batch.ratio_bounds
    return {
        "prefix/ratio_low": low,
        "prefix/ratio_high": high,
        "prefix/demonstration_share": _mean(hybrid[planned > 0]),
        "prefix/ratio": _mean(shares[hybrid]),
        "prefix/length": _mean(lengths[hybrid]),
        "prefix/demonstration_length": _mean(demonstration_lengths[hybrid]),
        "prefix/tokens": _mean(tokens),
        "prefix/holds_answer": _mean(holds[hybrid]),
        "prefix/states_answer": _mean(states[hybrid]),
        "prefix/reward_hybrid": _mean(rewards[hybrid]),
        "prefix/reward_on_policy": _mean(rewards[~hybrid]),
        "completions/mean_length_on_policy": _mean(completion_lengths[~hybrid]),
    }


def holds_answer(prefix_text: str, answer: object) -> float:
    """1 if a prefix contains the correct answer as a separate word or number, 0 if not, NaN if it is neither.

    In `... #### 42` the answer is what follows the final mark. A short answer can occur in a prefix by chance, so the
    fraction of prefixes that contain it is an upper bound.
    """
    if not isinstance(answer, (str, int, float)):
        return float("nan")
    word = answer_as_word(answer)
    return float(word is not None and word.search(prefix_text) is not None)


def _mean(values: torch.Tensor) -> float:
    return values.float().nanmean().item()


def ratio(numerator: float, denominator: float) -> float:
    """NaN where nothing was counted."""
    return numerator / denominator if denominator else float("nan")
