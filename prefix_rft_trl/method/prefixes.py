"""The plan of a batch: which rollouts are hybrid, how much of a demonstration each is given, and the splice.

Nothing here touches a global random state. What chance decides for a rollout comes from (seed, step, row), so it is
the same on one process and on many, and after a resume.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from .schedules import DISTRIBUTIONS, SLICES


Item = TypeVar("Item")

_SENTENCE_END = re.compile(r"(?:[.!?](?=\s)|[;\n])\s*")


@dataclass(frozen=True)
class Assignment:
    """What the plan gives one rollout of a generation batch.

    Attributes:
        planned (`bool`): whether it is one of the hybrid places of its group.
        demonstration (`dict` or `None`): the message it starts from; `None` makes it an on-policy rollout.
        ratio (`float`): the share of the demonstration that is given.
        key (`tuple[int, int, int]`): (seed, step, row), what its draws come from.
        answer: the right answer to its problem, as its row has it.
    """

    planned: bool = False
    demonstration: dict[str, Any] | None = None
    ratio: float = math.nan
    key: tuple[int, int, int] = (0, 0, 0)
    answer: object = None


ON_POLICY = Assignment()
WITHOUT_PREFIX = Assignment(planned=True)


def is_hybrid(row: int, num_generations: int, num_prefix_generations: int) -> bool:
    """Whether the rollout at a global row index is one of the first `num_prefix_generations` of its group."""
    return row % num_generations < num_prefix_generations


def assign(
    demonstrations: list[dict[str, Any]],
    key: tuple[int, int, int],
    ratio_bounds: tuple[float, float],
    distribution: str = "uniform",
    answer: object = None,
) -> Assignment:
    """Gives a hybrid place one of its prompt's demonstrations and a share of it.

    Args:
        demonstrations (`list[dict]`): those of the prompt; without any the rollout stays on-policy.
        key (`tuple[int, int, int]`): seed of the run, optimizer steps done so far, and index of the rollout among all
            that are generated in this step, over all processes.
        ratio_bounds (`tuple[float, float]`): the ends of the ratio's distribution at this step.
        distribution (`str`): name in `DISTRIBUTIONS`.
        answer: the right answer, as the row has it.
    """
    if not demonstrations:
        return WITHOUT_PREFIX
    rng = np.random.default_rng(key)
    demonstration = demonstrations[rng.integers(len(demonstrations))]
    ratio = DISTRIBUTIONS[distribution](rng, *ratio_bounds)
    return Assignment(True, demonstration, ratio, key, answer) if ratio > 0 else WITHOUT_PREFIX


@dataclass(frozen=True)
class Prefix:
    """What a rollout starts from.

    Attributes:
        ids (`list[int]`): its tokens; none make the rollout on-policy.
        states_answer (`float`): 1 if they reach into the demonstration's last statement of its answer, 0 if not, NaN
            where that cannot be told.
    """

    ids: list[int]
    states_answer: float = math.nan


NO_PREFIX = Prefix([])


def token_noise(assignments: list[Assignment], lengths: torch.Tensor, width: int) -> torch.Tensor:
    """A number from U[0, 1) for each prefix token, 0 elsewhere, for the random selection of prefix tokens.

    Args:
        assignments (`list[Assignment]`): of the rollouts.
        lengths (`torch.Tensor`): of their prefixes, in tokens, shape (rollouts,).
        width (`int`): tokens of a row of the result.

    Returns:
        `torch.Tensor`: float32, shape (rollouts, width), on the device of `lengths`.
    """
    noise = np.zeros((len(lengths), width), dtype=np.float32)
    for row, (assignment, length) in enumerate(zip(assignments, lengths.tolist(), strict=True)):
        of_tokens = np.random.default_rng([*assignment.key, 1])  # not the numbers that drew the prefix
        noise[row, :length] = of_tokens.random(length, dtype=np.float32)
    return torch.from_numpy(noise).to(lengths.device)


def prefix_length(ratio: float, demonstration_length: int, max_completion_length: int) -> int:
    """L = floor(l * |y*|), with 1 <= L <= |y*| - 1, in tokens (paper, section on prefix sampling).

    A demonstration longer than the completion budget is cut to it first, so that prefix and continuation together
    fit and at least one token is sampled. A demonstration of fewer than two tokens has no prefix: the length is 0.
    """
    available = min(demonstration_length, max_completion_length)
    if available < 2:
        return 0
    return min(max(math.floor(ratio * available), 1), available - 1)


def slice_end(text: str, ratio: float) -> int:
    """Characters of a text's first slices: at most five, of whole sentences, as equal in number as they can be (UFT).

    A sentence ends with `.`, `!` or `?` before white space, with a semicolon, or with its line. The ratio is the share
    of the slices that is given, the number of them rounded.
    """
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    number = min(SLICES, len(ends))
    given = round(ratio * number)
    return ends[round(given * len(ends) / number) - 1] if given else 0


def prepend(
    prefixes: list[list[Item]], continuations: list[list[Item]], max_length: int | None = None
) -> list[list[Item]]:
    """What comes before + what comes after, a row at a time, cut to a length."""
    return [[*before, *after][:max_length] for before, after in zip(prefixes, continuations, strict=True)]


def put_back(rows: list[int], of_rows: list[list[Item]], others: list[list[Item]]) -> list[list[Item]]:
    """All rows of a batch: the given ones from `of_rows`, which may hold more at its end, the rest from `others`."""
    given = dict(zip(rows, of_rows, strict=False))
    return [given.get(row, other) for row, other in enumerate(others)]
