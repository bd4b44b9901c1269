"""Compare advice with a map of regimes: whether the advised method is best in a cell, or within the interval of it.

    python benchmarks/advice_on_map.py probes/ map.json

`probes/` has the findings of `prefix-rft advise` in each cell, as CELL.json or CELL/probe.json. `map.json` maps each
cell to its methods, and those to their final runs: {"CELL": {"prefix_rft": [{"seed": 0, "accuracy": 0.82,
"problem_rewards": [1, 0, ...]}, ...]}}. Rewards of the problems make the intervals narrower and can be left out.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from prefix_rft_trl.advice.advice_rules import LABELS, UNKNOWN, Advice, advise
from prefix_rft_trl.advice.probe_result import ProbeResult
from prefix_rft_trl.comparison.results import Run
from prefix_rft_trl.comparison.uncertainty import MeanOverRuns, mean_difference
from prefix_rft_trl.utils.tables import TextTable, print_table


Cell = Mapping[str, Sequence[Run]]  # runs of each method


@dataclass(frozen=True)
class AdviceInCell:
    """
    Advice in a cell beside what was trained there.

    Args:
        cell (`str`): its name.
        advised (`str`, *optional*): the method; `None` without one.
        is_unknown (`bool`): whether the advice was that it cannot tell.
        best (`str`): method with the highest mean.
        difference ([`MeanOverRuns`], *optional*): paired, of the best and the advised method; `None` where these are
            the same, where none is advised or no seed has both.
        regret (`float`, *optional*): mean of the best less that of the advised method.
    """

    cell: str
    advised: str | None
    is_unknown: bool
    best: str
    difference: MeanOverRuns | None
    regret: float | None

    @property
    def is_right(self) -> bool:
        """Whether the advised method is the best, or not told apart from it: the interval of the difference has 0."""
        if self.advised is None or self.regret is None:
            return False
        if self.advised == self.best or self.regret <= 0:
            return True
        interval = self.difference.interval if self.difference else None
        return interval is not None and interval[0] <= 0


@dataclass(frozen=True)
class MapScore:
    """Shares over cells: `right` of those with an advised method, `unknown` of all, and the mean regret of advice."""

    cells: int
    right: float | None
    unknown: float
    regret: float | None


def judge_cell(name: str, advice: Advice, methods: Cell) -> AdviceInCell:
    """The advice of a cell beside its runs.

    Raises:
        ValueError: if the cell has no runs, or the advised method was not trained there.
    """
    means = {method: fmean(run.accuracy for run in runs) for method, runs in methods.items() if runs}
    if not means:
        raise ValueError(f"The cell {name!r} has no runs: leave it out, or train some.")
    best, advised = max(means, key=means.__getitem__), advice.method
    if advised is None:
        return AdviceInCell(name, None, advice.outcome == UNKNOWN, best, None, None)
    if advised not in means:
        raise ValueError(f"The advice for the cell {name!r} is {advised!r}, which has no run in it. Train it there.")
    difference = mean_difference(methods[best], methods[advised]) if advised != best else None
    return AdviceInCell(name, advised, False, best, difference, means[best] - means[advised])


def score(tested: Sequence[AdviceInCell]) -> MapScore:
    """The shares over all cells.

    Raises:
        ValueError: without any.
    """
    if not tested:
        raise ValueError("No cell has both a probe and runs: their names differ, or a folder is empty.")
    given = [one for one in tested if one.regret is not None]
    regrets = [one.regret for one in tested if one.regret is not None]
    return MapScore(
        len(tested),
        fmean(one.is_right for one in given) if given else None,
        fmean(one.is_unknown for one in tested),
        fmean(regrets) if regrets else None,
    )


def read_map(file: Path) -> dict[str, dict[str, list[Run]]]:
    found = json.loads(file.read_text(encoding="utf-8"))
    return {
        cell: {method: [_run(**run) for run in runs] for method, runs in methods.items()}
        for cell, methods in found.items()
    }


def _run(seed: int, accuracy: float, problem_rewards: Sequence[float] = (), problems: int = 0) -> Run:
    last = {"accuracy": accuracy, "problems": problems or len(problem_rewards) or 1}
    return Run(seed, [last | ({"problem_rewards": [*problem_rewards]} if problem_rewards else {})])


def read_probes(folder: Path) -> dict[str, ProbeResult]:
    files = {file.stem: file for file in folder.glob("*.json")}
    files |= {file.parent.name: file for file in folder.glob("*/probe.json")}
    return {cell: ProbeResult.read(file) for cell, file in sorted(files.items())}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probes", type=Path)
    parser.add_argument("map", type=Path)
    arguments = parser.parse_args(argv)
    cells = read_map(arguments.map)
    probes = read_probes(arguments.probes)
    tested = [judge_cell(cell, advise(probes[cell]), cells[cell]) for cell in cells if cell in probes]
    rows = [
        (
            one.cell,
            LABELS[one.advised] if one.advised else "cannot tell" if one.is_unknown else "none",
            LABELS.get(one.best, one.best),
            "-" if one.regret is None else f"{one.regret:.3f}",
            "-" if one.regret is None else "yes" if one.is_right else "no",
        )
        for one in tested
    ]
    found = score(tested)
    print_table(TextTable(("cell", "advised", "best", "regret", "right"), rows, 3))
    right = (
        "no advice" if found.right is None else f"{found.right:.0%} of advice right, mean regret {found.regret:.3f}"
    )
    print(f"{found.cells} cells: {right}; cannot tell in {found.unknown:.0%}.")


if __name__ == "__main__":
    main()
