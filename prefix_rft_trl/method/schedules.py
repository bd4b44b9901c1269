"""Schedules of the prefix ratio: the fraction of a demonstration that a hybrid rollout starts with, over training.

The paper (section on prefix sampling) draws it from U[low_t, high]. The upper bound is fixed. A schedule in
`SCHEDULES` says how the lower bound decays from `high` to its final value.
"""

import math
from collections.abc import Callable

import numpy as np


MAX_SLICES = 5  # UFT cuts a demonstration into at most five slices of sentences


def cosine(progress: float) -> float:
    """Half a cosine, slow at both ends (paper)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    return 1 - progress


def constant(progress: float) -> float:
    """No decay: the ratio is drawn from U[low, high] from the first step to the last (the paper's ablation)."""
    return 0.0


# Each maps training progress to the remaining decay: 1 at the start, 0 at the end.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "adaptive": constant,  # between bounds that follow the success rate of each problem: `adaptive_bounds`
    "whole": constant,  # unused: demonstrations are not cut
}


def ratio_bounds(schedule: str, step: int, decay_steps: int, low: float, high: float) -> tuple[float, float]:
    """Bounds of the prefix ratio's distribution at a step.

    Args:
        schedule (`str`): name in `SCHEDULES`.
        step (`int`): optimizer steps done so far.
        decay_steps (`int`): steps after which the lower bound stays at `low`.
        low (`float`): final lower bound.
        high (`float`): upper bound, and initial lower bound.

    Returns:
        `tuple[float, float]`: `(low_t, high)`.
    """
    progress = min(step / max(decay_steps, 1), 1.0)
    low_t = low + (high - low) * SCHEDULES[schedule](progress)
    return min(low_t, high), high  # rounding can put low_t above high, and U[low_t, high] would be empty


def adaptive_bounds(success_rate: float, low: float, high: float) -> tuple[float, float]:
    """Bounds low and high * (1 - s), with s the success rate of the problem: long prefixes where the policy fails.

    Not in the paper. Both bounds are 0 once every on-policy rollout succeeds.
    """
    top = high * (1 - success_rate)
    return min(low, top), top


def draw_uniform(rng: np.random.Generator, low_t: float, high: float) -> float:
    """l ~ U[low_t, high] (paper)."""
    return rng.uniform(low_t, high)


def slice_probability(rng: np.random.Generator, low_t: float, high: float) -> float:
    """p_t, the lower bound of the schedule: of how many slices is known when the demonstration is (UFT)."""
    return low_t


def draw_binomial(rng: np.random.Generator, sentences: int, p_t: float) -> int:
    """k ~ Binomial(min(5, n), p_t) slices of n sentences (UFT)."""
    return int(rng.binomial(min(MAX_SLICES, sentences), p_t))


# The ratio of a prefix, or with `"binomial"` the probability of each slice
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, float, float], float]] = {
    "uniform": draw_uniform,
    "binomial": slice_probability,
}
