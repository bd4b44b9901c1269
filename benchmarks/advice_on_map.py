"""Compare advice with a map of regimes: whether the advised method is best in a cell, and how sure that is.

    python benchmarks/advice_on_map.py runs/lab-map/results.json --probes runs/advice-on-map

The first file is that of `prefix-rft compare recipes/lab-map`. Each cell with results is probed as by
`prefix-rft advise`, with the settings of the map's Prefix-RFT and those of the cell's levels, into a folder of its
own; a command that was killed resumes. Cells that differ in the budget alone share a probe.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from prefix_rft_trl.advice.advice_rules import LABELS, UNKNOWN, Advice, advise
from prefix_rft_trl.advice.probe import plan_probe, run_probe
from prefix_rft_trl.advice.probe_result import ProbeResult
from prefix_rft_trl.advice.probed_subject import ProbeSettings
from prefix_rft_trl.cli.launch.probed_recipe import read_probed_recipe
from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.comparison.results import PROBLEM_REWARDS, Run
from prefix_rft_trl.comparison.uncertainty import MeanOverRuns, mean_difference
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.utils.tables import TextTable, print_table


PROBED = "prefix_rft"  # the recipe whose settings a cell is probed with
BUDGET = "max_steps"  # which changes no sample
BEST, LEVEL, WORSE, OPEN = "best", "not told apart from the best", "shown worse", "cannot tell"
Runs = Mapping[str, Sequence[Run]]  # of each method


@dataclass(frozen=True)
class Cell:
    """
    A cell of a map.

    Attributes:
        name (`str`): its levels that are not the first of their axis.
        settings (`dict`): of its levels, for the recipe that is probed.
        runs (`dict[str, list[Run]]`): final runs by the name of the recipe.
    """

    name: str
    settings: dict[str, Any]
    runs: dict[str, list[Run]]


@dataclass(frozen=True)
class AdviceInCell:
    """
    Advice in a cell beside what was trained there.

    Attributes:
        cell (`str`): its name.
        advised (`str`, *optional*): the method; `None` without one.
        verdict (`str`): `BEST`, `LEVEL`, `WORSE` or `OPEN`; the outcome of the advice where that is another one.
        best (`str`): method with the highest mean.
        regret (`float`, *optional*): mean of the best less that of the advised method.
        difference ([`MeanOverRuns`], *optional*): paired, of the best and the advised method.
    """

    cell: str
    advised: str | None
    verdict: str
    best: str
    regret: float | None = None
    difference: MeanOverRuns | None = None

    @property
    def width(self) -> float | None:
        """Of the interval of the difference; `None` where there is none, as of single seeds."""
        interval = self.difference.interval if self.difference else None
        return interval and interval[1] - interval[0]


def judge_cell(name: str, advice: Advice, methods: Runs) -> AdviceInCell:
    """The advice of a cell beside its runs.

    Raises:
        ValueError: if the cell has no runs, or the advised method was not trained there.
    """
    means = {method: fmean(run.accuracy for run in runs) for method, runs in methods.items() if runs}
    if not means:
        raise ValueError(f"The cell {name!r} has no runs: leave it out, or train some.")
    best, advised = max(means, key=means.__getitem__), advice.method
    if advised is None:
        return AdviceInCell(name, None, OPEN if advice.outcome == UNKNOWN else advice.outcome, best)
    if advised not in means:
        raise ValueError(f"The advice for the cell {name!r} is {advised!r}, which has no run in it. Train it there.")
    regret = means[best] - means[advised]
    if advised == best or regret == 0:
        return AdviceInCell(name, advised, BEST, best, regret)
    difference = mean_difference(methods[best], methods[advised])
    verdict = WORSE if difference and difference.is_above_zero else LEVEL
    return AdviceInCell(name, advised, verdict, best, regret, difference)


def read_cells(file: Path) -> list[Cell]:
    """The cells of a map's `results.json` that have runs.

    Raises:
        ValueError: if it has no map.
    """
    regimes = json.loads(file.read_text(encoding="utf-8")).get("map")
    if not regimes:
        raise ValueError(f"{file} has no map. Name the results.json of `prefix-rft compare recipes/lab-map`.")
    axes = {axis["name"]: axis["levels"] for axis in regimes["axes"]}
    experiments = regimes["experiments"]
    cells = []
    for cell in regimes["cells"]:
        methods = [experiments[name] for name in cell["methods"].values()]
        runs = {one["recipe"]: [_run(run) for run in one["runs"]] for one in methods if one["runs"]}
        differing = {axis: level for axis, level in cell["levels"].items() if level != next(iter(axes[axis]))}
        settings: dict[str, Any] = {}
        for axis, level in differing.items():
            of_level = axes[axis][level]
            settings |= (of_level.get("except") or {}).get(PROBED, of_level)
        settings.pop("except", None)
        if runs:
            cells.append(Cell(", ".join(f"{a}={v}" for a, v in differing.items()) or "base", settings, runs))
    return cells


def _run(final: Mapping[str, Any]) -> Run:
    rewards = final.get(PROBLEM_REWARDS) or []
    accuracy = float("nan") if final["accuracy"] is None else final["accuracy"]
    return Run(final["seed"], [{"accuracy": accuracy, "problems": len(rewards) or 1, PROBLEM_REWARDS: rewards}])


def probe_cell(cell: Cell, recipe: Path, folder: Path, settings: ProbeSettings) -> ProbeResult:
    """The findings of `prefix-rft advise` with the settings of a cell; a finished probe is read."""
    shared = {name: value for name, value in cell.settings.items() if name != BUDGET}
    probed = read_probed_recipe(_recipe(recipe, shared))
    planned = plan_probe(probed.subject, settings, Engine("transformers"), print)
    name = "-".join(f"{key}={value}" for key, value in sorted(shared.items())) or "base"
    found = probed.with_costs(
        run_probe(planned, folder / "".join(c if c.isalnum() or c in "-=._" else "_" for c in name)), None
    )
    steps = cell.settings.get(BUDGET)
    return replace(found, max_steps=steps, rollouts=steps * probed.step_rows) if steps else found


def _recipe(path: Path, settings: Mapping[str, Any]) -> Recipe:
    flags = ["--config", str(path)]
    for name, value in settings.items():
        flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return Recipe.read(flags)


def print_scores(tested: Sequence[AdviceInCell]) -> None:
    """A table of all cells, and how many have which verdict.

    Raises:
        ValueError: without any.
    """
    if not tested:
        raise ValueError("No cell has a result yet.")
    rows = [
        (
            one.cell,
            LABELS[one.advised] if one.advised else "-",
            LABELS.get(one.best, one.best),
            one.verdict,
            _figure(one.regret),
            _figure(one.width),
        )
        for one in tested
    ]
    print_table(TextTable(("cell", "advised", "best", "verdict", "regret", "width of its interval"), rows, 4))
    verdicts = [one.verdict for one in tested]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    regrets = [one.regret for one in tested if one.regret is not None]
    mean = f" Mean regret of the {len(regrets)} with a method: {fmean(regrets):.3f}." if regrets else ""
    print(f"{len(tested)} cells: {counted}.{mean}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main(argv: list[str] | None = None, judge: Callable[[ProbeResult], Advice] = advise) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path, metavar="MAP_RESULTS.json")
    parser.add_argument("--probes", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/lab-map/prefix_rft.yaml"))
    parser.add_argument("--num_problems", type=int)
    arguments = parser.parse_args(argv)
    settings = ProbeSettings(num_problems=arguments.num_problems)
    tested = []
    for cell in read_cells(arguments.map):
        print(f"{cell.name} ...", flush=True)
        found = probe_cell(cell, arguments.recipe, arguments.probes, settings)
        tested.append(judge_cell(cell.name, judge(found), cell.runs))
    print_scores(tested)


if __name__ == "__main__":
    main()
