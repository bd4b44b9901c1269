"""What an evaluation shows: a table in the terminal, and a picture of pass@k."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefix_rft_trl.comparison.statistics import Estimate

from .comparing import Difference
from .scores import Figures


if TYPE_CHECKING:
    from rich.table import Table

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

    from prefix_rft_trl.comparison.curves import COLOURS, SETTINGS

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
