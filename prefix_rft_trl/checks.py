"""What cannot be trained with hybrid rollouts, said before training starts."""

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
    """Raises a ValueError if the arguments of a trainer leave generation to something else than the trainer."""
    given = inspect.signature(GRPOTrainer).bind(*args, **named).arguments
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise ValueError(
                f"`{name}` takes generation out of the trainer's hands, so a rollout cannot start with a prefix of a "
                f"demonstration. Leave `{name}` out, or set `num_prefix_generations=0`."
            )


def check_prefixes(
    dataset: Dataset,
    args: PrefixGRPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    prefix_of: Callable[[int, Message], list[int]],
    without_demonstration: int,
) -> None:
    """Tokenizes the rows that may be without a prefix, and warns of those that are.

    Args:
        dataset, args, tokenizer: those of the trainer.
        prefix_of (`Callable`): from a row and one of its demonstrations to the longest prefix that it can give.
        without_demonstration (`int`): rows that have none.

    Raises:
        ValueError: naming the row, if a demonstration has no place in the chat template; if whole demonstrations are
            asked for and the shortest does not fit the completion budget.
    """
    column, too_short = args.demonstration_column, 0
    for row, found in doubtful_rows(dataset, column, tokenizer):
        try:
            prefixes = [prefix_of(row, message) for message in found]
        except ValueError as error:
            raise ValueError(f"Row {row}, column '{column}': {error}") from error
        too_short += not any(prefixes)
    if args.gives_whole_demonstrations:
        _check_shortest_fits(dataset, args, prefix_of)
    if without_demonstration or too_short:
        logger.warning(
            f"{without_demonstration + too_short} of {len(dataset)} rows train as plain GRPO: "
            f"{without_demonstration} have no demonstration or an empty one in column '{column}', {too_short} "
            "have one that cannot be cut: of a single token, or one that begins with its answer."
        )


def _check_shortest_fits(
    dataset: Dataset, args: PrefixGRPOConfig, prefix_of: Callable[[int, Message], list[int]]
) -> None:
    of_rows = ((row, parse_demonstrations(value)) for row, value in enumerate(dataset[args.demonstration_column]))
    row, shortest = min(
        ((row, message) for row, found in of_rows for message in found), key=lambda pair: len(pair[1]["content"])
    )
    if not prefix_of(row, shortest):
        raise ValueError(
            f"`prefix_ratio_schedule='whole'` leaves out demonstrations that do not fit `max_completion_length` "
            f"({args.max_completion_length}), and even the shortest, of row {row}, does not. Raise it."
        )
