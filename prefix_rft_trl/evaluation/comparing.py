"""Two models on the same problems: the difference, with the interval of the paired differences."""

import json
from dataclasses import dataclass
from pathlib import Path

from prefix_rft_trl.comparison.statistics import Estimate

from .estimates import paired_difference
from .record import FIGURES, SETTINGS, asked_differently
from .scores import Figures


@dataclass(frozen=True)
class Difference:
    """Of two models on a benchmark: the mean of each, of second - first, and what they were not asked alike."""

    benchmark: str
    first: float
    second: float
    difference: Estimate
    asked_differently: list[str]


def read_figures(folder: Path) -> dict[str, Figures]:
    """The figures of an evaluated model by benchmark.

    Raises:
        ValueError: if the folder has none.
    """
    found = {file.parent.name: file for file in sorted(folder.glob(f"*/{FIGURES}"))}
    if not found:
        beneath = sorted({str(file.parents[1]) for file in folder.glob(f"*/*/{FIGURES}")})
        hint = f" There are in: {', '.join(beneath)}." if beneath else ""
        raise ValueError(f"{folder} holds no figures of an evaluated model.{hint}")
    return {name: Figures.from_json(json.loads(file.read_text())) for name, file in found.items()}


def differences(first: Path, second: Path) -> list[Difference]:
    """Of each benchmark that both were evaluated on.

    Raises:
        ValueError: if there is none, or its problems are not the same.
    """
    of_first, of_second = read_figures(first), read_figures(second)
    shared = [name for name in of_first if name in of_second]
    if not shared:
        raise ValueError(
            f"No benchmark was evaluated for both: {first} has {', '.join(of_first)}, {second} {', '.join(of_second)}."
        )
    return [_difference(name, (first, of_first[name]), (second, of_second[name])) for name in shared]


def _difference(name: str, *evaluated: tuple[Path, Figures]) -> Difference:
    problems = [json.loads((folder / name / SETTINGS).read_text())["problems"] for folder, _ in evaluated]
    first, second = (figures for _, figures in evaluated)
    if problems[0] != problems[1] or first.problem_indices != second.problem_indices:
        raise ValueError(
            f"The problems of {name} are not those of both models, or were put differently: evaluate both with the "
            "same benchmark, instruction and `num_problems`."
        )
    paired = paired_difference(first.of_problems, second.of_problems)
    other = asked_differently([folder / name for folder, _ in evaluated])
    return Difference(name, first.mean.mean, second.mean.mean, paired, other)
