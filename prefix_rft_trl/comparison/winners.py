"""Say which method is best in a cell of a map, which others are level with it, and whether a claim holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from .regime_map import Claim, RegimeMap
from .results import Experiment
from .uncertainty import MeanOverRuns, mean_accuracy, mean_difference


HOLDS, FAILS, UNDECIDED, UNMEASURED = "holds", "does not hold", "not told apart", "not measured"


@dataclass(frozen=True)
class Winner:
    """The method with the highest mean in a cell.

    Attributes:
        label (`str`): of the method.
        mean (`MeanOverRuns`): its final accuracy.
        second (`str`, *optional*): the method with the highest mean of the others, if any was measured.
        margin (`MeanOverRuns`, *optional*): the paired difference of both, if they have seeds and problems in common.
        level (`tuple[str, ...]`): the others that are not shown to be below it, the highest mean first.
        measured (`int`): methods that were measured.
        methods (`int`): all methods.
    """

    label: str
    mean: MeanOverRuns
    second: str | None
    margin: MeanOverRuns | None
    level: tuple[str, ...]
    measured: int
    methods: int

    @property
    def is_told_apart(self) -> bool:
        """Whether each other method is shown to be below it, and none is missing."""
        return not self.level and 1 < self.measured == self.methods

    @property
    def is_of_one_seed(self) -> bool:
        """Whether one seed is all that it shares with the second, which tells no method from another."""
        return self.margin is not None and self.margin.seeds == 1


def find_winner(cell: Mapping[str, Experiment]) -> Winner | None:
    """The best of a cell by the label of the method; `None` where nothing was measured."""
    known = {label: one.measured_runs for label, one in cell.items() if one.measured_runs}
    means = {label: mean_accuracy(runs) for label, runs in known.items()}
    if not means:
        return None
    order = sorted(means, key=lambda label: -means[label].mean)
    best, *others = order
    below = {label: mean_difference(known[best], known[label]) for label in others}
    level = tuple(label for label, found in below.items() if not (found and found.is_above_zero))
    second = others[0] if others else None
    return Winner(best, means[best], second, below.get(second or ""), level, len(means), len(cell))


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, the paired difference that it is about (`None` if it was not measured), and whether it holds."""

    claim: Claim
    difference: MeanOverRuns | None
    word: str


def judge(claim: Claim, regimes: RegimeMap[Experiment]) -> JudgedClaim:
    """Compare both methods of a claim in its cell."""
    cell = regimes.cell(claim.where)
    difference = mean_difference(cell[claim.above].measured_runs, cell[claim.below].measured_runs)
    if difference is None:
        return JudgedClaim(claim, None, UNMEASURED)
    word = HOLDS if difference.is_above_zero else FAILS if difference.is_below_zero else UNDECIDED
    return JudgedClaim(claim, difference, word)
