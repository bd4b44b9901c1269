"""Cut the prefix of a rollout from a demonstration of several turns."""

import math
from typing import Any

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.method.prefixes import NO_PREFIX, Assignment, Prefix, exclude_answer, prefix_length
from prefix_rft_trl.method.trajectories import (
    TurnTokens,
    cut_turns,
    fitting_length,
    readable_length,
    turns_length,
    whole_turns_length,
)
from prefix_rft_trl.rewards.answers import answer_as_word, last_statement


def cut_trajectory(
    turns: list[TurnTokens],
    results: list[list[str]],
    assignment: Assignment,
    args: PrefixGRPOConfig,
    tokenizer: Any,
) -> Prefix:
    """Cuts the prefix of a rollout from a demonstration of several turns.

    Prefix, results of tools and continuation share the completion budget: a demonstration that goes beyond it with its
    own results is truncated to it first, or left out where it would be given whole.

    Args:
        turns (`list[TurnTokens]`): of the demonstration.
        results (`list[list[str]]`): of the tools that each turn called.
        assignment (`Assignment`): the prefix ratio, the key of its draws, and the correct answer.
        args: the settings.
        tokenizer: of the policy.
    """
    ids = [token for turn in turns for token in turn.ids]
    length = min(_drawn_length(turns, assignment, args), readable_length(turns))
    text = tokenizer.decode(ids)
    states_answer = math.nan if answer_as_word(assignment.answer) is None else 0.0
    answer_start = last_statement(text, assignment.answer)
    if answer_start is not None and args.prefix_exclude_answer:
        length = len(exclude_answer(ids[:length], answer_start, tokenizer.decode))
    if args.prefix_unit == "turn" and not assignment.is_whole:
        length = whole_turns_length(turns, length)
    pieces = cut_turns(turns, results, length)
    kept = [token for piece in pieces for token in piece.ids]
    if not kept:
        return NO_PREFIX
    if answer_start is not None:
        states_answer = float(len(tokenizer.decode(kept)) > answer_start)
    return Prefix(
        kept,
        states_answer,
        len(kept) / len(ids),
        len(ids),
        is_complete=pieces[0].is_complete,
        pieces=pieces,
        spans=((0, len(pieces[0].ids)),),
    )


def _drawn_length(turns: list[TurnTokens], assignment: Assignment, args: PrefixGRPOConfig) -> int:
    """In tokens the paper's law goes over the assistant's turns without the last end; in turns k = floor(l * m)."""
    assert args.max_completion_length is not None
    total, fitting = sum(len(turn.ids) for turn in turns), fitting_length(turns, args.max_completion_length)
    if assignment.is_whole:
        return total if fitting == total else 0
    if args.prefix_unit == "turn":
        return min(turns_length(assignment.ratio, turns), fitting - 1)
    return prefix_length(assignment.ratio, total - 1, fitting)
