"""The plan of a batch: which rollouts are hybrid, how much of a demonstration each is given, and the splice.

Nothing here touches a global random state. What chance decides for a rollout comes from (seed, step, row), so it is
the same on one process and on many, and after a resume.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch


Item = TypeVar("Item")


@dataclass(frozen=True)
class Assignment:
    """What the plan gives one rollout of a generation batch.

    Attributes:
        planned (`bool`): whether it is one of the hybrid places of its group.
        demonstration (`dict` or `None`): the message it starts from; `None` makes it an on-policy rollout.
        ratio (`float`): the share of the demonstration that is given.
        key (`tuple[int, int, int]`): (seed, step, row), what its draws come from.
    """

    planned: bool = False
    demonstration: dict[str, Any] | None = None
    ratio: float = math.nan
    key: tuple[int, int, int] = (0, 0, 0)


ON_POLICY = Assignment()


def is_hybrid(row: int, num_generations: int, num_prefix_generations: int) -> bool:
    """Whether the rollout at a global row index is one of the first `num_prefix_generations` of its group."""
    return row % num_generations < num_prefix_generations


def assign(
    demonstrations: list[dict[str, Any]], seed: int, step: int, row: int, ratio_bounds: tuple[float, float]
) -> Assignment:
    """Gives a hybrid place one of its prompt's demonstrations and a ratio l ~ U[low_t, high].

    Args:
        demonstrations (`list[dict]`): those of the prompt; without any the rollout stays on-policy.
        seed (`int`): seed of the run.
        step (`int`): optimizer steps done so far.
        row (`int`): index of the rollout among all that are generated in this step, over all processes.
        ratio_bounds (`tuple[float, float]`): the ends of the ratio's distribution at this step.
    """
    if not demonstrations:
        return Assignment(planned=True)
    rng = np.random.default_rng([seed, step, row])
    demonstration = demonstrations[rng.integers(len(demonstrations))]
    return Assignment(True, demonstration, rng.uniform(*ratio_bounds), key=(seed, step, row))


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


def prepend(
    prefixes: list[list[Item]], continuations: list[list[Item]], max_length: int | None = None
) -> list[list[Item]]:
    """What comes before + what comes after, a row at a time, cut to a length."""
    return [[*before, *after][:max_length] for before, after in zip(prefixes, continuations, strict=True)]
