"""Checks before training starts: refuse arguments and data that do not work with hybrid rollouts."""

import inspect
from collections.abc import Callable
from typing import Any

from accelerate.logging import get_logger
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import GRPOTrainer

from .config import PrefixGRPOConfig
from .method.demonstrations import Message, doubtful_rows, parse_demonstrations


logger = get_logger(__name__)


def refuse_other_generators(*args: Any, **named: Any) -> None:
    """Raises a ValueError if a trainer's arguments replace its generation."""
    given = inspect.signature(GRPOTrainer).bind(*args, **named).arguments
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise ValueError(
                f"`{name}` takes over generation, so a rollout cannot start with a prefix of a demonstration. Remove "
                f"`{name}`, or set `num_prefix_generations=0`."
            )


def check_prefixes(
    dataset: Dataset,
    args: PrefixGRPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    longest_prefix: Callable[[int, Message], list[int]],
    num_missing: int,
) -> None:
    """Tokenizes the rows that may not yield a prefix, and warns about those that do not.

    Args:
        dataset, args, tokenizer: those of the trainer.
        longest_prefix (`Callable`): from a row index and one of its demonstrations to its longest possible prefix.
        num_missing (`int`): number of rows without a demonstration.

    Raises:
        ValueError: naming the row, if the chat template has no room for a demonstration; if whole demonstrations are
            used and the shortest does not fit the completion budget.
    """
    column, too_short = args.demonstration_column, 0
    for row, found in doubtful_rows(dataset, column, tokenizer):
        try:
            prefixes = [longest_prefix(row, message) for message in found]
        except ValueError as error:
            raise ValueError(f"Row {row}, column '{column}': {error}") from error
        too_short += not any(prefixes)
    if args.gives_whole_demonstrations:
        _check_shortest_fits(dataset, args, longest_prefix)
    if num_missing or too_short:
        logger.warning(
            f"{num_missing + too_short} of {len(dataset)} rows train as plain GRPO: "
            f"{num_missing} have no demonstration or an empty one in column '{column}', {too_short} "
            "have one that cannot be cut: a single token, or one that starts with its answer."
        )


def _check_shortest_fits(
    dataset: Dataset, args: PrefixGRPOConfig, longest_prefix: Callable[[int, Message], list[int]]
) -> None:
    parsed = ((row, parse_demonstrations(value)) for row, value in enumerate(dataset[args.demonstration_column]))
    row, shortest = min(
        ((row, message) for row, found in parsed for message in found), key=lambda pair: len(pair[1]["content"])
    )
    if not longest_prefix(row, shortest):
        raise ValueError(
            f"`prefix_ratio_schedule='whole'` leaves out demonstrations that do not fit `max_completion_length` "
            f"({args.max_completion_length}), and even the shortest, in row {row}, does not. Raise it."
        )
