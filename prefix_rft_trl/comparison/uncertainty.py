"""Means and paired differences of accuracies, with 95% intervals over seeds and problems.

Runs are a table of rewards, seeds by problems, whose mean varies with both: the half widths of the interval over seeds
and of that over problems (Student's t) are added as squares. The variance over seeds is at least what the sampling of
answers alone gives: that of a problem's reward over seeds, averaged over the problems, by the number of problems. So
seeds that tie by chance are not more certain than others. A difference has this interval, cut at -1 and 1; a share has
Wilson's with as many draws as would give this half width, so that it stays within 0 and 1.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefix_rft_trl.utils.intervals import bounded_interval, t_quantile

from .results import Run


Rewards = list[float]  # of each problem
DIGITS = 12  # of an accuracy: what lies below is rounding, and no spread


@dataclass(frozen=True)
class MeanOverRuns:
    """A mean accuracy, or a mean of paired differences of accuracies.

    Attributes:
        mean (`float`): over the seeds.
        low, high (`float`, *optional*): ends of its 95% interval; `None` where nothing tells one.
        seeds (`int`): number of seeds.
        over (`tuple[str, ...]`): what the interval is over, of `seeds` and `problems`. It is not over seeds where
            there is one, where all have the same reward on each problem, and where they tie and these are unknown.
        is_alike (`bool`): whether several seeds have the same value.
        is_recorded (`bool`): whether the reward of each problem is known.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    over: tuple[str, ...]
    is_alike: bool
    is_recorded: bool

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def is_below_zero(self) -> bool:
        """Whether several seeds tell that it is: all of an interval over them is."""
        return "seeds" in self.over and self.high is not None and self.high < 0

    @property
    def is_above_zero(self) -> bool:
        return "seeds" in self.over and self.low is not None and self.low > 0

    @property
    def is_of_identical_runs(self) -> bool:
        """Of a difference: whether both sides have the same reward on each problem."""
        return self.is_recorded and self.mean == 0 and self.interval is None


def mean_accuracy(runs: Sequence[Run]) -> MeanOverRuns:
    """The mean final accuracy of runs, each with another seed.

    Raises:
        ValueError: without runs.
    """
    rewards = problem_rewards(runs)
    values = [run.accuracy for run in runs]
    problems = len(rewards[0]) if rewards else min(run.problems for run in runs)
    is_several = len(runs) > 1  # a single one is a share of problems
    mean, halves = _mean(values), _half_widths(values, rewards if is_several else [])
    interval = bounded_interval(mean, math.hypot(*halves.values()), problems)
    over = _names(halves) if any(halves.values()) else ("problems",)
    return _mean_over_runs(values, interval, over, bool(rewards))


def mean_difference(first: Sequence[Run], second: Sequence[Run]) -> MeanOverRuns | None:
    """The mean of first - second in final accuracy, over the seeds that both have.

    `None` if there are none, or if they were measured on another number of problems.
    """
    pairs = pair_seeds(first, second)
    if not pairs or len({run.asked for pair in pairs for run in pair}) > 1:
        return None
    values = [one.accuracy - other.accuracy for one, other in pairs]
    rewards = problem_rewards([run for pair in pairs for run in pair])
    differences = [
        [round(a - b, DIGITS) for a, b in zip(one, other, strict=True)]
        for one, other in zip(rewards[::2], rewards[1::2], strict=True)
    ]
    mean, halves = _mean(values), _half_widths(values, differences)
    half = math.hypot(*halves.values())
    limit = 1.0 if all(0 <= run.accuracy <= 1 for pair in pairs for run in pair) else math.inf
    interval = (max(mean - half, -limit), min(mean + half, limit)) if half else None
    return _mean_over_runs(values, interval, _names(halves), bool(rewards))


def pair_seeds(first: Sequence[Run], second: Sequence[Run]) -> list[tuple[Run, Run]]:
    of_seed = {run.seed: run for run in second}
    return [(run, of_seed[run.seed]) for run in first if run.seed in of_seed]


def problem_rewards(runs: Iterable[Run]) -> list[Rewards]:
    """The final rewards of each run, of the problems that all could score; empty if not all runs have them."""
    recorded = [run.problem_rewards for run in runs]
    if len({len(rewards) for rewards in recorded}) != 1:
        return []
    scored = [column for column in zip(*recorded, strict=True) if None not in column]
    return [list(row) for row in zip(*scored, strict=True)]


def best_row(means: Mapping[int, MeanOverRuns]) -> int | None:
    """The row with the highest mean; the first of several, and `None` without any."""
    return max(means, key=lambda row: means[row].mean, default=None)


def _half_widths(values: Sequence[float], rewards: Sequence[Rewards]) -> dict[str, float]:
    """Half of the interval over seeds and of that over problems; 0 where nothing varies, or nothing is known."""
    problems = list(zip(*rewards, strict=True))
    return {
        "seeds": half_width(values, least_seed_variance(rewards)),
        "problems": half_width([_mean(problem) for problem in problems]),
    }


def _names(halves: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(name for name, half in halves.items() if half)


def _mean_over_runs(
    values: Sequence[float], interval: tuple[float, float] | None, over: tuple[str, ...], is_recorded: bool
) -> MeanOverRuns:
    low, high = interval or (None, None)
    is_alike = len({round(value, DIGITS) for value in values}) == 1 < len(values)
    return MeanOverRuns(_mean(values), low, high, len(values), over if interval else (), is_alike, is_recorded)


def least_seed_variance(rewards: Sequence[Rewards]) -> float:
    """The variance of a seed's mean that the sampling of its answers alone gives; 0 for fewer than two seeds.

    Args:
        rewards (`Sequence[list[float]]`): of each seed, those of each problem.
    """
    problems = list(zip(*rewards, strict=True))
    return _mean([_variance(problem) for problem in problems]) / len(problems) if problems else 0.0


def half_width(values: Sequence[float], least_variance: float = 0.0) -> float:
    """Half of the 95% interval of a mean by Student's t; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    variance = max(_variance([round(value, DIGITS) for value in values]), least_variance)
    return t_quantile(len(values) - 1) * math.sqrt(variance / len(values))


def _variance(values: Sequence[float]) -> float:
    if len(set(values)) < 2:  # whose mean can be rounded
        return 0.0
    mean = _mean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(set(values)) == 1 else math.fsum(values) / len(values)
