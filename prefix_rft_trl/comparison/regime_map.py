"""A map of regimes: cells of a grid of conditions, in each of which all methods are compared."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar


Levels = dict[str, str]  # the level of each axis, by its name
Place = tuple[str, ...]  # the levels of a cell, in the order of the axes
Outcome = TypeVar("Outcome")  # of a method in a cell: a trial to be run, or the experiment that it was
Other = TypeVar("Other")


@dataclass(frozen=True)
class Axis:
    """A condition that varies.

    Attributes:
        name (`str`): in the specification.
        title (`str`): in figures and tables.
        levels (`dict[str, dict]`): the settings of each level, those of single recipes under `except`; none of the
            first.
    """

    name: str
    title: str
    levels: dict[str, dict[str, Any]]

    @property
    def first(self) -> str:
        return next(iter(self.levels))

    @property
    def title_in_sentence(self) -> str:
        """The title with a small first letter, unless it starts with an abbreviation."""
        return self.title if self.title[1:2].isupper() else self.title[:1].lower() + self.title[1:]


@dataclass(frozen=True)
class Plane:
    """Levels of two axes that make a heat map, one down and one across; other axes stay at their first level."""

    rows: Axis
    columns: Axis
    row_levels: tuple[str, ...]
    column_levels: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.rows.title} by {self.columns.title_in_sentence}"

    @property
    def title_in_sentence(self) -> str:
        return f"{self.rows.title_in_sentence} by {self.columns.title_in_sentence}"

    def levels(self, row: str, column: str) -> Levels:
        return {self.rows.name: row, self.columns.name: column}


@dataclass(frozen=True)
class Claim:
    """A method above another in a cell; labels of both, and the levels that are not the first of their axis."""

    above: str
    below: str
    where: Levels


@dataclass(frozen=True)
class RegimeMap(Generic[Outcome]):
    """Cells by their place: in each, an outcome for each method by its label."""

    axes: tuple[Axis, ...]
    planes: tuple[Plane, ...] = ()
    claims: tuple[Claim, ...] = ()
    cells: dict[Place, dict[str, Outcome]] = field(default_factory=dict)

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for cell in self.cells.values() for outcome in cell.values()]

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(label for cell in self.cells.values() for label in cell))

    def place(self, levels: Levels) -> Place:
        """The place of a cell, by the levels that are not the first of their axis."""
        return tuple(levels.get(axis.name, axis.first) for axis in self.axes)

    def cell(self, levels: Levels) -> dict[str, Outcome]:
        return self.cells[self.place(levels)]

    def levels(self, place: Place) -> Levels:
        return {axis.name: level for axis, level in zip(self.axes, place, strict=True)}

    def differing(self, place: Place) -> Levels:
        """The levels of a place that are not the first of their axis."""
        return {axis.name: level for axis, level in zip(self.axes, place, strict=True) if level != axis.first}

    def mapped(self, change: Callable[[Outcome], Other]) -> "RegimeMap[Other]":
        """The map with another outcome in place of each."""
        changed = {place: {label: change(one) for label, one in cell.items()} for place, cell in self.cells.items()}
        return replace(self, cells=changed)  # type: ignore[arg-type, return-value]


def describe(levels: Levels) -> str:
    """`success=half, style=brief`."""
    return ", ".join(f"{axis}={level}" for axis, level in levels.items()) or "all axes at their first level"
