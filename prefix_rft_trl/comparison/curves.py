"""Draw the curves of a report: a line for each method, a band over its seeds, and dots where each seed ends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from prefix_rft_trl.utils.intervals import Estimate, bounded_interval
from prefix_rft_trl.utils.plot_style import COLOURS, INK, RULE

from .drawing import SEED_DOT, WIDTH, Drawing, drawn, wrapped
from .results import Run
from .statistics import mean_curve


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p")
SOLID, DASHED, DOTTED, MIXED = "-", (0, (5, 1.5)), (0, (1.6, 1.2)), (0, (6, 1.5, 1.5, 1.5))
DASHES: tuple[Any, ...] = (DASHED, SOLID, DOTTED, MIXED, SOLID, DOTTED, SOLID, DASHED, MIXED)
MAX_TOGETHER = len(COLOURS)  # curves that can be told apart in one figure
MANY_PANELS = 16  # above, they are smaller
LEGEND_WIDTH = 26  # characters
SEEDS_OF_A_BAND = 3  # the fewest
CAPTION = (
    "Curves: the mean over seeds. Bands, from three seeds on: the 95% interval over seeds alone (Student's t, of a "
    "share within 0 and 1). With two seeds, a thin line for each. Dots at the end of a curve: one for each seed. A "
    "method has one colour and mark in all figures."
)


@dataclass(frozen=True)
class Style:
    """Look of a method, the same in all figures."""

    colour: str
    marker: str
    dashes: Any

    @classmethod
    def numbered(cls, number: int) -> "Style":
        """One of 81 styles. The first nine differ in colour and mark, all others in one of both."""
        place, turn = number % len(COLOURS), number // len(COLOURS)
        shifted = (place + turn) % len(MARKERS)
        return cls(COLOURS[place], MARKERS[shifted], DASHES[shifted])


@dataclass(frozen=True)
class Method:
    """An experiment to draw: its label, style and runs."""

    label: str
    style: Style
    runs: list[Run]


@dataclass(frozen=True)
class View:
    """A figure to draw: its name, title, the keys of both axes, and whether the vertical one goes from 0 to 1, or
    ends at 0."""

    name: str
    title: str
    x: str
    y: str
    is_share: bool = False
    is_below_zero: bool = False


X_TITLES = {"step": "optimizer steps", "tokens": "tokens generated and trained", "seconds": "seconds of training"}
ACCURACY = View("accuracy", "Accuracy over steps", "step", "accuracy", is_share=True)
ACCURACY_OVER_TOKENS = View("accuracy-tokens", "Accuracy over tokens", "tokens", "accuracy", is_share=True)
VIEWS_APART = (ACCURACY, ACCURACY_OVER_TOKENS)  # of more methods than fit in one figure
VIEWS = (
    *VIEWS_APART,
    View("accuracy-seconds", "Accuracy over time", "seconds", "accuracy", is_share=True),
    View("entropy", "Entropy of the policy, nats", "step", "policy_entropy"),
    View("length", "Length of the answers, tokens", "step", "length"),
    View("prefix", "Length of the prefixes, tokens", "step", "prefix/length"),
    View(
        "likelihood",
        "Log-probability of a demonstration's token, nats",
        "step",
        "demonstration_logp",
        is_below_zero=True,
    ),
)


def styles(figures: Sequence[Sequence[str]]) -> dict[str, Style]:
    """A style for each name; `figures` are the names that each figure shows together.

    A new name gets a style that no other has, if its figure can have it in a colour that is not there yet.
    """
    chosen: dict[str, int] = {}
    for names in figures:
        for name in dict.fromkeys(names):
            if name not in chosen:
                here = {chosen[other] % MAX_TOGETHER for other in names if other in chosen}
                free = (number for number in count() if number not in chosen.values())
                has_free_colour = len(here) < MAX_TOGETHER
                chosen[name] = next(n for n in free if n % MAX_TOGETHER not in here or not has_free_colour)
    return {name: Style.numbered(number) for name, number in chosen.items()}


Points = list[tuple[Estimate, Estimate]]
Curves = list[tuple[Method, Points]]


def points(method: Method, view: View) -> Points:
    """Means of the horizontal and of the vertical quantity at each step that all seeds have."""
    runs = [
        Run(run.seed, [{**line, "tokens": line["generated_tokens"] + line["trained_tokens"]} for line in run.curve])
        for run in method.runs
    ]
    across = mean_curve(runs, view.x)
    return [(across[step], value) for step, value in mean_curve(runs, view.y).items() if step in across]


def not_drawn(methods: Sequence[Method]) -> str:
    """A sentence on the curves that so many methods do not get; empty where all are drawn."""
    others = [view for view in VIEWS if view not in VIEWS_APART and any(points(method, view) for method in methods)]
    if len(methods) <= MAX_TOGETHER or not others:
        return ""
    titles = "; ".join(view.title.partition(",")[0].lower() for view in others)
    return f"Of more than {MAX_TOGETHER} methods these curves are not drawn: {titles}. `results.json` has their data."


def draw(methods: Sequence[Method], view: View, threshold: float, apart: bool = False) -> Drawing | None:
    """The methods' means over seeds with bands of the 95% interval; `None` if none has such values.

    More methods than can be told apart get a panel each (`apart`), the others grey behind it.
    """
    curves = [(method, line) for method in methods if (line := points(method, view))]
    if not curves:
        return None
    return drawn(lambda figure: (_draw_apart if apart else _draw_together)(figure, curves, view, threshold))


def _draw_together(figure: Any, curves: Curves, view: View, threshold: float) -> None:
    legend_rows = (len(curves) + 1 + 1) // 2
    figure.set_size_inches(WIDTH, 3.5 + 0.2 * legend_rows)
    axes = figure.subplots()
    names = {_draw_curve(axes, method, curve, view): wrapped(method.label, LEGEND_WIDTH) for method, curve in curves}
    if line := _format_axes(axes, view, threshold):
        names[line] = f"threshold {threshold:g}"
    legend = figure.legend(list(names), [" "] * len(names), loc="outside lower center", ncols=2, handlelength=3.4)
    for text, name in zip(legend.get_texts(), names.values(), strict=True):
        text.set_text(name)  # one that starts with an underscore would be left out


def _draw_apart(figure: Any, curves: Curves, view: View, threshold: float) -> None:
    columns, height, title_width = (2, 1.6, 36) if len(curves) <= MANY_PANELS else (3, 1.35, 24)
    rows = -(-len(curves) // columns)
    figure.set_size_inches(WIDTH, 0.4 + height * rows)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for number, (panel, (method, curve)) in enumerate(zip(panels, curves, strict=False)):
        for _, line in curves:
            panel.plot([x.mean for x, _ in line], [y.mean for _, y in line], color=RULE, linewidth=1)
        _draw_curve(panel, method, curve, view)
        _format_axes(panel, view, threshold)
        panel.set_title(wrapped(method.label, title_width), fontsize=9, fontweight="normal")
        panel.set_xlabel("")
        panel.tick_params(labelbottom=number + columns >= len(curves))
    for panel in panels[len(curves) :]:
        panel.remove()
    figure.suptitle(view.title, x=0.02, ha="left", fontsize=11, fontweight="bold")
    figure.supxlabel(X_TITLES[view.x], fontsize=10)


def _draw_curve(axes: Any, method: Method, curve: Points, view: View) -> Any:
    """The line of the method's means, drawn with its band, or the lines of few seeds, and the ends of its seeds."""
    x, y, style = [across.mean for across, _ in curve], [up for _, up in curve], method.style
    of_seeds = [points(replace(method, runs=[run]), view) for run in method.runs]
    if 1 < len(method.runs) < SEEDS_OF_A_BAND:
        for line in of_seeds:
            places = [across.mean for across, _ in line], [up.mean for _, up in line]
            axes.plot(*places, color=style.colour, linewidth=0.8, alpha=0.6)
    elif all(value.half_width is not None for value in y):
        lows, highs = zip(*(band(value, view.is_share) for value in y), strict=True)
        axes.fill_between(x, lows, highs, color=style.colour, alpha=0.14, linewidth=0)
    look = {"color": style.colour, "linestyle": style.dashes, "marker": style.marker}
    (drawn_line,) = axes.plot(x, [value.mean for value in y], **look, linewidth=1.8, markersize=4.5)
    if len(method.runs) > 1:
        ends = [line[-1] for line in of_seeds if line]
        places = [across.mean for across, _ in ends], [up.mean for _, up in ends]
        axes.plot(*places, **SEED_DOT, color=style.colour, clip_on=False, zorder=3)
    return drawn_line


def band(value: Estimate, is_share: bool) -> tuple[float, float]:
    """The ends of a mean's interval over seeds; those of a share lie within 0 and 1."""
    if not (is_share and value.half_width):
        return value.low, value.high
    return bounded_interval(value.mean, value.half_width, draws=0) or (value.low, value.high)


def _format_axes(axes: Any, view: View, threshold: float) -> Any | None:
    """The line of the threshold, if the axes have one."""
    axes.set(title=view.title, xlabel=X_TITLES[view.x])
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(short_number)
    if view.is_share:
        axes.set_ylim(0, 1)
        return axes.axhline(threshold, color=INK, linestyle=":", linewidth=1)
    axes.set_ylim(**{"top" if view.is_below_zero else "bottom": 0})
    return None


def short_number(value: float, position: int | None = None) -> str:
    """`250k` for 250,000 on an axis."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 10_000 else f"{value:g}"
