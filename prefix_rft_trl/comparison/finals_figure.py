"""Draw final accuracies: a line for each method, with a dot for each seed, their mean and its interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .curves import Style
from .drawing import SEED_DOT, WIDTH, Drawing, drawn, wrapped
from .uncertainty import MeanOverRuns


LABEL_WIDTH = 26  # characters
MOST_PANELS = 4  # side by side
CAPTION = (
    "Final accuracy: a small dot for each seed; the large mark is their mean, the bar its interval as in the table."
)


@dataclass(frozen=True)
class FinalAccuracies:
    """The final accuracies of a method: for each column those of its seeds and their mean, if there are any."""

    label: str
    style: Style
    columns: Sequence[tuple[list[float], MeanOverRuns] | None]


def draw_finals(rows: Sequence[FinalAccuracies], columns: Sequence[str]) -> Drawing | None:
    """A panel for each column (one without columns) with a line for each row; `None` if nothing is known."""
    if not any(cell for row in rows for cell in row.columns):
        return None
    return drawn(lambda figure: _draw(figure, rows, columns or [""]))


def _draw(figure: Any, rows: Sequence[FinalAccuracies], columns: Sequence[str]) -> None:
    across = min(len(columns), MOST_PANELS)
    down = -(-len(columns) // across)
    figure.set_size_inches(max(WIDTH, 1.6 + 1.5 * across), down * (1.0 + 0.34 * len(rows)))
    panels = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    values = [value for row in rows for cell in row.columns if cell for value in cell[0]]
    for place, panel in enumerate(panels[: len(columns)]):
        for number, row in enumerate(rows):
            if place < len(row.columns) and (cell := row.columns[place]):
                _draw_cell(panel, number, row.style, *cell)
        panel.set_title(wrapped(columns[place], 20), fontsize=9, fontweight="normal")
        panel.set_yticks(range(len(rows)), [wrapped(row.label, LABEL_WIDTH) for row in rows])
        panel.set_ylim(len(rows) - 0.5, -0.5)
        if all(0 <= value <= 1 for value in values):
            panel.set_xlim(0, 1)
        panel.tick_params(axis="y", length=0, labelsize=9)
        panel.grid(visible=False, axis="y")
    for panel in panels[len(columns) :]:
        panel.remove()
    figure.suptitle("Final accuracy", x=0.02, ha="left", fontsize=11, fontweight="bold")


def _draw_cell(panel: Any, line: int, style: Style, seeds: list[float], mean: MeanOverRuns) -> None:
    if mean.interval:
        panel.plot(mean.interval, [line, line], color=style.colour, linewidth=2, solid_capstyle="butt", alpha=0.55)
    panel.plot([mean.mean], [line], color=style.colour, marker=style.marker, markersize=7, clip_on=False)
    panel.plot(seeds, [line + 0.24] * len(seeds), **SEED_DOT, color=style.colour, clip_on=False)
