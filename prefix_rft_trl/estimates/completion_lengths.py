"""Lengths of completions or demonstrations, known by their mean and the longest of them."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


LARGEST_SPREAD = 20.0  # of the logarithm of the length


@dataclass(frozen=True)
class LengthDistribution:
    """Tokens of a completion, log-normal between a mean and a longest; all equal where both are the same.

    Attributes:
        mean (`float`): tokens on average.
        longest (`float`): tokens of the longest of those that are looked at.

    Raises:
        ValueError: if the mean is not above 0, or above the longest.
    """

    mean: float
    longest: float

    def __post_init__(self) -> None:
        if not 0 < self.mean <= self.longest < math.inf:
            raise ValueError(
                f"a mean length of {self.mean:,g} tokens does not fit a longest of {self.longest:,g}: it must be "
                "above 0 and at most the longest."
            )

    def sample(self, number: int) -> list[int]:
        """Lengths of a sample, sorted: their mean and longest are those of the distribution, to rounding."""
        normal = NormalDist()
        below_longest = np.array([normal.inv_cdf((place + 0.5) / number) for place in range(number)])
        below_longest -= below_longest[-1]
        low, high = 0.0, LARGEST_SPREAD
        for _ in range(50):
            spread = (low + high) / 2
            is_too_even = np.exp(spread * below_longest).mean() > self.mean / self.longest
            low, high = (spread, high) if is_too_even else (low, spread)
        lengths = self.longest * np.exp(low * below_longest)
        return np.maximum(1, lengths.round()).astype(int).tolist()

    def __str__(self) -> str:
        shape = "all equal" if self.mean == self.longest else f"log-normal up to {self.longest:,.0f}"
        return f"{self.mean:,.0f} tokens, {shape}"
