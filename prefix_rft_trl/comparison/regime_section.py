"""Build the sections of a report that show a map of regimes."""

from collections.abc import Mapping

from . import regime_tables
from .curves import Style
from .heat_map import CAPTION, draw_heat_map
from .regime_map import Plane, RegimeMap
from .rendering import Block, ReportFigure
from .results import Experiment
from .winners import Winner


Section = tuple[str, list[Block]]


def map_sections(
    regimes: RegimeMap[Experiment], note: str, styles: Mapping[str, Style], figures: str
) -> list[Section]:
    """How to read the map, a section for each plane, one for the claims, and one for the settings of the levels.

    Args:
        regimes (`RegimeMap[Experiment]`): what was found.
        note (`str`): on all of it; empty without one.
        styles (`Mapping[str, Style]`): by the label of a method.
        figures (`str`): folder of the figures, relative to the report.
    """
    sections: list[Section] = [("The map", [*filter(None, [note]), CAPTION, regime_tables.WINNERS])]
    sections += [
        (plane.title, _plane_blocks(plane, regimes, styles, f"{figures}/map{number}.svg"))
        for number, plane in enumerate(regimes.planes, 1)
    ]
    if claims := regime_tables.claims_table(regimes):
        sections.append(("Claims", [claims]))
    return [*sections, ("Axes of the map", [regime_tables.axes_table(regimes)])]


def _plane_blocks(plane: Plane, regimes: RegimeMap[Experiment], styles: Mapping[str, Style], path: str) -> list[Block]:
    found = regime_tables.winners(plane, regimes)
    blocks: list[Block] = []
    if drawing := draw_heat_map(plane, found, styles):
        words = [f"{row}, {column}: {one.label}" for (row, column), one in found.items() if isinstance(one, Winner)]
        description = f"The method with the highest mean in each cell. {'; '.join(words)}."
        blocks.append([ReportFigure(path, drawing.svg, drawing.png, description)])
    return [*blocks, regime_tables.winners_table(plane, found), *regime_tables.accuracy_tables(plane, regimes)]
