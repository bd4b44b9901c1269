"""The laws of the prefix ratio: how much of a demonstration a hybrid rollout is given, over training.

In the paper (section on prefix sampling) that share is drawn from U[low_t, high]. A law of `SCHEDULES` says how far
low_t still is on its way from `high` (1) down to `low` (0), as a function of the progress of training in [0, 1].
"""

import math
from collections.abc import Callable

import numpy as np


SLICES = 5  # UFT cuts a demonstration into at most so many slices of sentences


def cosine(progress: float) -> float:
    """The paper's: half a cosine, slow at both ends."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    return 1 - progress


def uniform(progress: float) -> float:
    """The paper's ablation: no decay, the ratio is drawn from U[low, high] from the first step to the last."""
    return 0.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": cosine,
    "linear": linear,
    "uniform": uniform,
    "adaptive": uniform,  # between bounds that follow each problem: see `adaptive_bounds`
    "whole": uniform,  # of no matter: nothing is cut
}


def ratio_bounds(schedule: str, step: int, decay_steps: int, low: float, high: float) -> tuple[float, float]:
    """The two ends of the prefix ratio's distribution at a step.

    Args:
        schedule (`str`): name of a law in `SCHEDULES`.
        step (`int`): optimizer steps done so far.
        decay_steps (`int`): steps after which the lower end stays at `low`.
        low (`float`): where the lower end arrives.
        high (`float`): the upper end at all times, and where the lower end starts.

    Returns:
        `tuple[float, float]`: `(low_t, high)`.
    """
    progress = min(step / max(decay_steps, 1), 1.0)
    low_t = low + (high - low) * SCHEDULES[schedule](progress)
    return min(low_t, high), high  # rounding may end above `high`, and nothing can be drawn from there


def adaptive_bounds(success_rate: float, low: float, high: float) -> tuple[float, float]:
    """U[low, high * (1 - s)], s the problem's own success rate: long where the policy fails, none where it succeeds.

    Not of the paper. Both ends are 0 once every on-policy rollout succeeds.
    """
    top = high * (1 - success_rate)
    return min(low, top), top


def draw_uniform(rng: np.random.Generator, low_t: float, high: float) -> float:
    """l ~ U[low_t, high] (paper)."""
    return rng.uniform(low_t, high)


def draw_binomial(rng: np.random.Generator, low_t: float, high: float) -> float:
    """k / 5 with k ~ Binomial(5, p_t), p_t the lower end of the schedule: UFT's number of slices."""
    return rng.binomial(SLICES, low_t) / SLICES


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, float, float], float]] = {
    "uniform": draw_uniform,
    "binomial": draw_binomial,
}
