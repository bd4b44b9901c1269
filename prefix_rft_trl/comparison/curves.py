"""The figures of a report as SVG: the same results give the same bytes, whatever fonts the reader has."""

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.utils.plot_style import COLOURS, INK, RULE, SETTINGS

from .results import Run
from .statistics import Point, mean_curve


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SOLID, DASHED, DOTTED, MIXED = "-", (0, (5, 1.5)), (0, (1.6, 1.2)), (0, (6, 1.5, 1.5, 1.5))
DASHES: tuple[Any, ...] = (DASHED, SOLID, DOTTED, MIXED, SOLID, DOTTED, SOLID, DASHED)
MOST_TOGETHER = len(COLOURS)  # curves that can be told apart in one figure
WIDTH = 5.4  # inches: half of a page, or all of a phone
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Style:
    """How a method is drawn in all figures."""

    colour: str
    marker: str
    dashes: Any


OTHER = Style(COLOURS[-1], ".", SOLID)  # in a panel of its own, without a look of its own


@dataclass(frozen=True)
class Method:
    """What is drawn of an experiment: its label, its look and its runs."""

    label: str
    style: Style
    runs: list[Run]


@dataclass(frozen=True)
class View:
    """A figure to draw: its name, title, the keys of both axes, and whether the vertical one goes from 0 to 1."""

    name: str
    title: str
    x: str
    y: str
    share: bool = False


X_TITLES = {
    "step": "optimizer steps",
    "tokens": "tokens generated and trained",
    "seconds": "seconds of training",
}
ACCURACY = View("accuracy", "Accuracy over steps", "step", "accuracy", share=True)
VIEWS = (
    ACCURACY,
    View("accuracy-tokens", "Accuracy over tokens", "tokens", "accuracy", share=True),
    View("accuracy-seconds", "Accuracy over time", "seconds", "accuracy", share=True),
    View("entropy", "Entropy of the policy, nats", "step", "policy_entropy"),
    View("length", "Length of the answers, tokens", "step", "length"),
    View("prefix", "Length of the prefixes, tokens", "step", "prefix/length"),
)


def styles(figures: Sequence[Sequence[str]]) -> dict[str, Style]:
    """A look for each name, the same in all figures; `figures` are the names that each shows together.

    A new name gets a look that no figure has, or, when these are used up, one that its own figure does not have.
    """
    looks: dict[str, int] = {}
    for names in figures:
        for name in names:
            if name not in looks:
                here = {looks[other] for other in names if other in looks}
                unused = [i for i in range(len(COLOURS)) if i not in looks.values()]
                looks[name] = next(iter(unused or [i for i in range(len(COLOURS)) if i not in here]), 0)
    return {name: Style(COLOURS[i], MARKERS[i], DASHES[i]) for name, i in looks.items()}


def with_tokens(run: Run) -> Run:
    """The run with `tokens`, those generated and those trained, in each line."""
    return Run(run.seed, [{**line, "tokens": line["generated_tokens"] + line["trained_tokens"]} for line in run.curve])


def points(method: Method, view: View) -> list[tuple[Point, Point]]:
    """Of each step that all seeds have: the mean of the horizontal quantity and of the vertical one."""
    runs = [with_tokens(run) for run in method.runs]
    across = {point.step: point for point in mean_curve(runs, view.x)}
    return [(across[point.step], point) for point in mean_curve(runs, view.y) if point.step in across]


def draw_together(methods: Sequence[Method], view: View, threshold: float) -> str | None:
    """The methods' means over seeds with bands of the 95% interval, as SVG; `None` if none has such values."""
    drawn = [(method, line) for method in methods if (line := points(method, view))]
    if not drawn:
        return None
    with settings():
        from matplotlib.figure import Figure  # without pyplot: no display, no global state

        rows_of_legend = (len(drawn) + 1 + 1) // 2
        figure = Figure(figsize=(WIDTH, 3.5 + 0.2 * rows_of_legend), layout="constrained")
        axes = figure.subplots()
        for method, line in drawn:
            draw_curve(axes, method, line)
        dress(axes, view, threshold)
        figure.legend(loc="outside lower center", ncols=2, handlelength=3.4)
        return as_svg(figure)


def draw_apart(methods: Sequence[Method], view: View, threshold: float) -> str | None:
    """As `draw_together` for more methods than can be told apart: a panel for each, the others grey behind it."""
    drawn = [(method, line) for method in methods if (line := points(method, view))]
    if not drawn:
        return None
    columns = 2
    rows = -(-len(drawn) // columns)
    with settings():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, 0.4 + 1.6 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for number, (method, line) in enumerate(drawn):
            panel = panels[number]
            for _, other in drawn:
                panel.plot([x.value.mean for x, _ in other], [y.value.mean for _, y in other], color=RULE, linewidth=1)
            draw_curve(panel, method, line)
            dress(panel, view, threshold)
            panel.set_title(wrapped(method.label), fontsize=9, fontweight="normal")
            panel.set_xlabel("")
            panel.tick_params(labelbottom=number + columns >= len(drawn))
        for panel in panels[len(drawn) :]:
            panel.remove()
        figure.suptitle(view.title, x=0.02, ha="left", fontsize=11, fontweight="bold")
        figure.supxlabel(X_TITLES[view.x], fontsize=10)
        return as_svg(figure)


def draw_curve(axes: Any, method: Method, line: list[tuple[Point, Point]]) -> None:
    x, y = [across.value.mean for across, _ in line], [up.value for _, up in line]
    style = method.style
    if all(value.half_width is not None for value in y):
        axes.fill_between(x, [v.low for v in y], [v.high for v in y], color=style.colour, alpha=0.14, linewidth=0)
    axes.plot(
        x,
        [value.mean for value in y],
        color=style.colour,
        linestyle=style.dashes,
        linewidth=1.8,
        marker=style.marker,
        markersize=4.5,
        label=method.label,
    )


def dress(axes: Any, view: View, threshold: float) -> None:
    axes.set(title=view.title, xlabel=X_TITLES[view.x])
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(shortened)
    if view.share:
        axes.set_ylim(0, 1)
        axes.axhline(threshold, color=INK, linestyle=":", linewidth=1, label=f"threshold {threshold:g}")
    else:
        axes.set_ylim(bottom=0)


def shortened(value: float, position: int | None = None) -> str:
    """`250k` for 250,000 on an axis."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 10_000 else f"{value:g}"


def wrapped(text: str, width: int = 36) -> str:
    return "\n".join(textwrap.wrap(text, width)[:2])


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib as it comes, whatever the user's own settings are, with those of the report."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def as_svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    return rounded(buffer.getvalue())


def rounded(svg: str) -> str:
    """Coordinates to a hundredth of a point and paths on one line, for half the size."""
    return re.sub(r' (d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]).replace(" \n", " "), svg)
