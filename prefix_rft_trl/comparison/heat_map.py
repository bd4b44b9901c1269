"""Draw a plane of a map of regimes: a cell for each pair of levels, in the colour of the method that is best there."""

from collections.abc import Mapping
from typing import Any

from prefix_rft_trl.utils.plot_style import INK

from .curves import Style
from .drawing import WIDTH, Drawing, drawn, wrapped
from .regime_map import Plane
from .winners import NoWinner, Winner, measured_of


LABEL_INCHES, CELL_INCHES = 0.9, 0.82
CHARACTERS_PER_INCH = 15  # of the smaller text
ONE_SEED = "one seed"
NEUTRAL = "#eceff2"  # of cells with missing methods
CAPTION = (
    "Each cell has the method with the highest mean final accuracy, this mean, and in brackets its margin over the "
    "second. Full colour: each other method is shown to be below it (the interval of the paired difference lies below "
    "0). Pale and hatched: it is not told apart from the methods after =, in brackets how many where they do not fit, "
    "or it has one seed. Grey: methods are missing. The table has all. Each method has one colour and mark everywhere."
)
Winners = Mapping[tuple[str, str], Winner | NoWinner]  # by the levels of the row and of the column


def draw_heat_map(plane: Plane, winners: Winners, styles: Mapping[str, Style]) -> Drawing | None:
    """The plane with its winners; `None` if nothing was measured."""
    if not any(one.measured for one in winners.values()):
        return None
    return drawn(lambda figure: _draw(figure, plane, winners, styles))


def _draw(figure: Any, plane: Plane, winners: Winners, styles: Mapping[str, Style]) -> None:
    rows, columns = plane.row_levels, plane.column_levels
    width = max(WIDTH, LABEL_INCHES + 1.1 * len(columns))
    figure.set_size_inches(width, 1.0 + CELL_INCHES * len(rows))
    axes = figure.subplots()
    characters = int(CHARACTERS_PER_INCH * (width - LABEL_INCHES) / len(columns))
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            winner = winners[row, column]
            if isinstance(winner, Winner):
                _draw_cell(axes, x, y, winner, styles[winner.label], characters)
            else:
                _draw_ground(axes, x, y, {"facecolor": NEUTRAL if winner.measured else "white"})
                axes.text(x, y, winner.word, ha="center", va="center", fontsize=8)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), [wrapped(level, 18) for level in columns], fontsize=9)
    axes.set_yticks(range(len(rows)), [wrapped(level, 10) for level in rows], fontsize=9)
    axes.set_xlabel(wrapped(plane.columns.title, 60), fontsize=9, fontweight="bold")
    axes.set_ylabel(wrapped(plane.rows.title, 30), fontsize=9, fontweight="bold")
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _draw_ground(axes: Any, x: int, y: int, look: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, linewidth=0, **look))


def _ground(winner: Winner, colour: str) -> dict[str, Any]:
    """The colour of a cell and its hatching."""
    if not winner.is_complete:
        return {"facecolor": NEUTRAL}
    if winner.is_told_apart:
        return {"facecolor": mixed(colour, 0.45)}
    return {"facecolor": mixed(colour, 0.13), "hatch": "///", "edgecolor": mixed(colour, 0.32)}


def _draw_cell(axes: Any, x: int, y: int, winner: Winner, style: Style, characters: int) -> None:
    _draw_ground(axes, x, y, _ground(winner, style.colour))
    axes.plot([x - 0.42], [y - 0.36], color=style.colour, marker=style.marker, markersize=4, linestyle="none")
    title = wrapped(winner.label, characters - 2)
    margin = f" ({winner.margin.mean:+.2f})" if winner.margin else ""
    others = _others(winner, characters)
    text = {"ha": "center", "va": "center", "color": INK}
    axes.text(x, y - (0.24 if others else 0.12), title, **text, fontsize=8.5, fontweight="bold")
    axes.text(x, y + (0.02 if others else 0.16), f"{winner.mean.mean:.2f}{margin}", **text, fontsize=8.5)
    axes.text(x, y + 0.28, others, **text, fontsize=7)


def _others(winner: Winner, characters: int) -> str:
    """What is said of the other methods, on at most two lines: how many are level where their names do not fit."""
    if not winner.is_complete:
        return wrapped(measured_of(winner), characters)
    if winner.is_of_one_seed:
        return ONE_SEED
    level = " ".join(f"= {label}" for label in winner.level)
    if not (whole := wrapped(level, characters)).endswith(" ..."):
        return whole
    number = f" ({len(winner.level)})"
    return wrapped(level, characters - len(number)) + number


def mixed(colour: str, share: float) -> str:
    """A colour `#rrggbb` mixed with white, of which it has this share."""
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)
