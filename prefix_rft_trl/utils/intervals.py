"""Means over seeds, and shares of problems, with their 95% confidence intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist


CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean (`float`): over the seeds.
        half_width (`float` or `None`): half of the 95% interval by Student's t; `None` for a single seed.
        seeds (`int`): number of values.
    """

    mean: float
    half_width: float | None
    seeds: int

    @property
    def low(self) -> float:
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        return self.mean + (self.half_width or 0.0)

    def text(self, decimals: int, scale: float = 1.0, sign: str = "") -> str:
        """`0.912 ± 0.013`, without the interval for a single seed; `sign="+"` writes that of a positive mean."""
        mean = f"{scale * self.mean:{sign}.{decimals}f}"
        return mean if self.half_width is None else f"{mean} ± {scale * self.half_width:.{decimals}f}"


def wilson_interval(share: float, count: float) -> tuple[float, float] | None:
    """The 95% interval of a share among `count` draws by Wilson's score; `None` for what is no share of anything."""
    if count <= 0 or not 0 <= share <= 1:
        return None
    centre, weight = share + Z**2 / (2 * count), 1 + Z**2 / count
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count * count))
    return max(0.0, (centre - half) / weight), min(1.0, (centre + half) / weight)


def bounded_interval(share: float, half: float, draws: float) -> tuple[float, float] | None:
    """A 95% interval of a share within 0 and 1 that is about `share` ± `half` where that is narrow and far from them.

    It is Wilson's interval of a share with as many draws as would give that half width.

    Args:
        share, half (`float`): of an interval that knows no bounds. What is outside of 0 to 1 is no share, and has
            that interval.
        draws (`float`): of the share if `half` is 0; 0 for none.

    Returns:
        `tuple[float, float]`: its ends, or `None` if neither `half` nor `draws` tells one.
    """
    if not 0 <= share <= 1:
        return (share - half, share + half) if half else None
    variance = share * (1 - share)
    if half and variance:
        draws = variance * (Z / half) ** 2
    return wilson_interval(share, draws)


@cache
def t_quantile(degrees_of_freedom: int) -> float:
    """Half of the 95% interval in standard errors."""
    from scipy.stats import t  # a second to import

    return float(t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom))


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95% interval of independent values, one per seed.

    Raises:
        ValueError: without values.
    """
    if not values:
        raise ValueError("No values to average: leave out experiments without runs.")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, 1)
    if len(set(values)) == 1:  # whose sum can be rounded
        return Estimate(values[0], 0.0, count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, t_quantile(count - 1) * math.sqrt(variance / count), count)
