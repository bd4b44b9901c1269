"""Means and paired differences of accuracies, with 95% intervals over seeds and problems.

Runs are a table of rewards, seeds by problems, whose mean varies with both: the half widths of the interval over seeds
and of that over problems (Student's t) are added as squares. A share has Wilson's interval with as many draws as would
give this half width, so that it stays within 0 and 1, and is not empty where all runs are alike.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefix_rft_trl.utils.intervals import bounded_interval, estimate

from .results import Run


Rewards = list[float]  # of each problem
DIGITS = 12  # of an accuracy: what lies below is rounding, and no spread
FEWEST_SEEDS = 2  # that tell methods apart


@dataclass(frozen=True)
class MeanOverRuns:
    """A mean accuracy, or a mean of paired differences of accuracies.

    Attributes:
        mean (`float`): over the seeds.
        low, high (`float`, *optional*): ends of its 95% interval; `None` where nothing tells one.
        seeds (`int`): number of seeds.
        over (`tuple[str, ...]`): what the interval is over, of `seeds` and `problems`.
        is_alike (`bool`): whether several seeds have the same value.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    over: tuple[str, ...]
    is_alike: bool

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def is_told_from_zero(self) -> bool:
        """Whether several seeds tell a difference: its interval does not hold 0."""
        found = self.interval
        return self.seeds >= FEWEST_SEEDS and found is not None and not found[0] <= 0 <= found[1]


def mean_accuracy(runs: Sequence[Run]) -> MeanOverRuns:
    """The mean final accuracy of runs, each with another seed.

    Raises:
        ValueError: without runs.
    """
    rewards = problem_rewards(runs)
    values = [run.accuracy for run in runs]
    problems = len(rewards[0]) if rewards else min(run.problems for run in runs)
    per_problem = _means(rewards) if rewards and len(runs) > 1 else []
    return _mean_over(values, per_problem, problems, bounds=(0.0, 1.0))


def mean_difference(first: Sequence[Run], second: Sequence[Run]) -> MeanOverRuns | None:
    """The mean of first - second in final accuracy, over the seeds that both have.

    `None` if there are none, or if they were measured on another number of problems.
    """
    pairs = pair_seeds(first, second)
    if not pairs or len({run.asked for pair in pairs for run in pair}) > 1:
        return None
    values = [one.accuracy - other.accuracy for one, other in pairs]
    rewards = problem_rewards([run for pair in pairs for run in pair])
    per_problem = [a - b for a, b in zip(_means(rewards[::2]), _means(rewards[1::2]), strict=True)]
    return _mean_over(values, per_problem, len(per_problem), bounds=(-1.0, 1.0))


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


def _mean_over(
    values: Sequence[float], per_problem: Sequence[float], problems: int, bounds: tuple[float, float]
) -> MeanOverRuns:
    over_seeds, over_problems = half_width(values), half_width(per_problem)
    mean = estimate(values).mean
    interval = bounded_interval(mean, math.hypot(over_seeds, over_problems), problems, *bounds)
    has_several, is_alike = len(values) > 1, len({round(value, DIGITS) for value in values}) == 1 < len(values)
    names = {"seeds": has_several and (not is_alike or per_problem), "problems": per_problem or not over_seeds}
    over = tuple(name for name, holds in names.items() if holds) if interval else ()
    low, high = interval or (None, None)
    return MeanOverRuns(mean, low, high, len(values), over, is_alike)


def half_width(values: Sequence[float]) -> float:
    """Half of the 95% interval of a mean by Student's t; 0 for fewer than two values."""
    exact = [round(value, DIGITS) for value in values]
    return (estimate(exact).half_width or 0.0) if exact else 0.0


def _means(rewards: Sequence[Rewards]) -> list[float]:
    """The mean reward of each problem over runs."""
    return [math.fsum(column) / len(column) for column in zip(*rewards, strict=True)]
