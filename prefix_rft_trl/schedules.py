"""The laws of the prefix ratio over training (paper, section on prefix sampling).

The share of a demonstration that a hybrid rollout is given is drawn from U[low_t, high]. A law says how far low_t
still is on its way from `high` (1) down to `low` (0), as a function of the progress of training in [0, 1].
"""

import math
from collections.abc import Callable


def cosine(progress: float) -> float:
    """The paper's: half a cosine, slow at both ends."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    return 1 - progress


def uniform(progress: float) -> float:
    """The paper's ablation: no decay, the ratio is drawn from U[low, high] from the first step to the last."""
    return 0.0


SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": cosine, "linear": linear, "uniform": uniform}


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
