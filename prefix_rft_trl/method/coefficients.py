"""Coefficient laws: the factor c of the weight of a demonstration's tokens, over training."""

from collections.abc import Callable
from dataclasses import dataclass

from .schedules import cosine, linear


# Each maps the progress of the decay, from 0 to 1, to what remains of it
COEFFICIENT_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": linear,
    "cosine": cosine,
}


@dataclass(frozen=True)
class Coefficient:
    """A coefficient that rises to its peak, and goes on to its end (CHORD, arXiv 2508.11408, Eq. 6).

    Attributes:
        peak, end (`float`): after the warm-up, and after the decay.
        schedule (`str`): name in `COEFFICIENT_SCHEDULES`.
        warmup_steps (`int`): optimizer steps in which it rises linearly from 0.
        decay_steps (`int` or `None`): optimizer steps from peak to end; `None` for the rest of the run.
    """

    peak: float
    end: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_steps: int | None = None

    @property
    def changes(self) -> bool:
        return self.schedule != "constant" or self.warmup_steps > 0

    def at(self, step: int, max_steps: int) -> float:
        """The coefficient of an optimizer step.

        Args:
            step (`int`): optimizer steps done so far.
            max_steps (`int`): of the run.
        """
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        decay_steps = self.decay_steps or max(max_steps - self.warmup_steps, 1)
        progress = min((step - self.warmup_steps) / decay_steps, 1.0)
        return self.end + (self.peak - self.end) * COEFFICIENT_SCHEDULES[self.schedule](progress)
