"""What an evaluation shows: a table in the terminal, and a picture of pass@k."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefix_rft_trl.utils.intervals import Estimate

from .evaluate import FIGURES, SETTINGS, asked_differently
from .scores import Figures, paired_difference


if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Difference:
    """Of two models on a benchmark: the mean of each, of second - first, and what they were not asked alike."""

    benchmark: str
    first: float
    second: float
    difference: Estimate
    asked_differently: list[str]


Evaluated = dict[str, dict[str, Figures]]  # by model, then by benchmark


def figures_table(evaluated: Evaluated, ks: Sequence[int]) -> "Table":
    """A line for each model and benchmark; percentages, with 95% intervals over problems."""
    rows = []
    for model, of_model in evaluated.items():
        for benchmark, figures in of_model.items():
            number = figures.num_samples
            rows.append(
                [
                    model,
                    benchmark,
                    f"{figures.problems}" + (f" (+{figures.unscored})" if figures.unscored else ""),
                    f"{number}",
                    percent(figures.mean),
                    *(f"{100 * figures.pass_at_k[k - 1]:.1f}" if k <= number else "" for k in ks),
                    f"{100 * figures.majority:.1f}",
                    f"{100 * figures.answered:.1f}",
                    f"{100 * figures.truncated:.1f}",
                    f"{figures.mean_tokens:.0f}",
                ]
            )
    of_k = [f"pass@{k}" for k in ks]
    head = ["model", "benchmark", "problems", "n", "avg@n", *of_k, "maj@n", "answered", "cut off", "tokens"]
    return _table(head, rows)


def differences_table(first: str, second: str, found: Sequence[Difference]) -> "Table":
    """A line for each benchmark: both means and second - first, in percent."""
    rows = [
        [one.benchmark, f"{100 * one.first:.1f}", f"{100 * one.second:.1f}", percent(one.difference, sign="+")]
        for one in found
    ]
    return _table(["benchmark", first, second, f"{second} - {first}"], rows)


def percent(value: Estimate, sign: str = "") -> str:
    mean = f"{100 * value.mean:{sign}.1f}"
    return mean if value.half_width is None else f"{mean} ± {100 * value.half_width:.1f}"


def _table(head: list[str], rows: list[list[str]]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    words = 2 if head[0] == "model" else 1
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def draw_pass_at_k(evaluated: Evaluated, file: Path) -> None:
    """The curves of all models over each other, a panel for each benchmark, k on a scale of powers of two."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from prefix_rft_trl.utils.plot_style import COLOURS, SETTINGS

    benchmarks = list(dict.fromkeys(name for of_model in evaluated.values() for name in of_model))
    with pyplot.rc_context(SETTINGS):
        figure, axes = pyplot.subplots(1, len(benchmarks), figsize=(5.4 * len(benchmarks), 3.8), squeeze=False)
        for axis, benchmark in zip(axes[0], benchmarks, strict=True):
            for place, (model, of_model) in enumerate(evaluated.items()):
                if benchmark in of_model:
                    curve = of_model[benchmark].pass_at_k
                    dot = {"marker": "o"} if len(curve) == 1 else {}
                    axis.plot(range(1, len(curve) + 1), curve, label=model, color=COLOURS[place % len(COLOURS)], **dot)
            longest = max(
                len(of_model[benchmark].pass_at_k) for of_model in evaluated.values() if benchmark in of_model
            )
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks := [4**power for power in range(longest.bit_length()) if 4**power <= longest], ticks)
            axis.minorticks_off()
            axis.set(title=benchmark, xlabel="k", ylabel="pass@k", ylim=(0, 1.02))
            axis.legend(loc="best")
        figure.tight_layout()
        figure.savefig(file, dpi=150, metadata={"Software": None})
        pyplot.close(figure)


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
