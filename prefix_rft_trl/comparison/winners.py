"""Say which method is best in a cell of a map, which others are level with it, and whether a claim holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .regime_map import Claim, RegimeMap
from .results import Experiment, Run
from .uncertainty import MeanOverRuns, mean_accuracy, mean_difference, pair_seeds


HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not told apart"
UNMEASURED, UNPAIRED, OTHER_PROBLEMS = "not measured", "no seed in common", "measured on other problems"
ENOUGH = Fraction(2, 3)  # of the methods, that must be measured before one is called the best


@dataclass(frozen=True)
class Winner:
    """The method with the highest mean in a cell, over the seeds that all measured methods have.

    Attributes:
        label (`str`): of the method.
        mean (`MeanOverRuns`): its final accuracy.
        second (`str`, *optional*): the method with the highest mean of the others, if any was measured.
        margin (`MeanOverRuns`, *optional*): the paired difference of both, if they have seeds and problems in common.
        level (`tuple[str, ...]`): the others that are not shown to be below it, the highest mean first.
        measured (`int`): methods that were measured.
        methods (`int`): all methods.
        left_out (`int`): seeds that some methods have and others do not.
    """

    label: str
    mean: MeanOverRuns
    second: str | None
    margin: MeanOverRuns | None
    level: tuple[str, ...]
    measured: int
    methods: int
    left_out: int = 0

    @property
    def is_complete(self) -> bool:
        return self.measured == self.methods

    @property
    def is_told_apart(self) -> bool:
        """Whether each other method is shown to be below it, and none is missing."""
        return not self.level and self.is_complete and self.methods > 1

    @property
    def is_of_one_seed(self) -> bool:
        """Whether one seed is all that it shares with the second, which tells no method from another."""
        return self.margin is not None and self.margin.seeds == 1


@dataclass(frozen=True)
class NoWinner:
    """A cell in which too few methods were measured to call one the best, or none on the seeds of the others."""

    measured: int
    methods: int

    @property
    def word(self) -> str:
        if not self.measured:
            return UNMEASURED
        return measured_of(self) if self.measured < self.methods else UNPAIRED


def measured_of(found: Winner | NoWinner) -> str:
    """`5 of 9 measured`."""
    return f"{found.measured} of {found.methods} measured"


def find_winner(cell: Mapping[str, Experiment]) -> Winner | NoWinner:
    """The best of a cell by the label of the method; none where less than two thirds of the methods were measured."""
    measured = {label: one.measured_runs for label, one in cell.items() if one.measured_runs}
    seeds = [{run.seed for run in runs} for runs in measured.values()]
    common = set[int]().union(*seeds).intersection(*seeds)
    if not common or len(measured) < ENOUGH * len(cell):
        return NoWinner(len(measured), len(cell))
    known = {label: [run for run in runs if run.seed in common] for label, runs in measured.items()}
    means = {label: mean_accuracy(runs) for label, runs in known.items()}
    order = sorted(means, key=lambda label: -means[label].mean)
    best, *others = order
    below = {label: mean_difference(known[best], known[label]) for label in others}
    level = tuple(label for label, found in below.items() if not (found and found.is_above_zero))
    second = others[0] if others else None
    left_out = len(set().union(*seeds) - common)
    return Winner(best, means[best], second, below.get(second or ""), level, len(means), len(cell), left_out)


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, the paired difference that it is about (`None` if there is none), and whether it holds."""

    claim: Claim
    difference: MeanOverRuns | None
    word: str


def judge(claim: Claim, regimes: RegimeMap[Experiment]) -> JudgedClaim:
    """Compare both methods of a claim in its cell."""
    cell = regimes.cell(claim.where)
    above, below = cell[claim.above].measured_runs, cell[claim.below].measured_runs
    difference = mean_difference(above, below)
    if difference is None:
        return JudgedClaim(claim, None, _why_not_compared(above, below))
    word = HOLDS if difference.is_above_zero else FAILS if difference.is_below_zero else UNDECIDED
    return JudgedClaim(claim, difference, word)


def _why_not_compared(above: Sequence[Run], below: Sequence[Run]) -> str:
    if not (above and below):
        return UNMEASURED
    return OTHER_PROBLEMS if pair_seeds(above, below) else UNPAIRED
