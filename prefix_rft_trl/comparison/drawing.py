"""Draw a figure as SVG and PNG: the same bytes for the same results, whatever fonts and settings there are.

The background is opaque, so that a figure reads the same on a light and on a dark page.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.utils.plot_style import SETTINGS
from prefix_rft_trl.utils.printable import printable


WIDTH = 5.4  # inches: half of a page, or all of a phone
DOTS_PER_INCH = 150
SEED_DOT = {"linestyle": "none", "marker": "o", "markersize": 4, "markeredgecolor": "white", "markeredgewidth": 0.7}
MATPLOTLIB_STYLE = ["default", SETTINGS]  # whatever the user's own settings are
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Drawing:
    """A figure in both formats."""

    svg: str
    png: bytes


def drawn(draw: Callable[[Any], None]) -> Drawing:
    """What `draw` puts into the matplotlib figure that it is given."""
    from matplotlib import style
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    with style.context(MATPLOTLIB_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a label: it is in the tables
        figure, svg, png = Figure(layout="constrained"), io.StringIO(), io.BytesIO()
        draw(figure)
        figure.savefig(svg, format="svg", metadata=NO_METADATA)
        figure.set_layout_engine("none")  # it is laid out by now
        figure.savefig(png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return Drawing(round_coordinates(svg.getvalue()), png.getvalue())


def wrapped(label: str, width: int) -> str:
    """A label on at most two lines of so many characters, as text that a figure can hold; dots where that cuts it."""
    return "\n".join(textwrap.wrap(printable(label), width, max_lines=2, placeholder=" ..."))


def round_coordinates(svg: str) -> str:
    """Round to a hundredth of a point and put paths on one line, for half the size."""
    return re.sub(r' (d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]).replace(" \n", " "), svg)
