"""Read what to compare: tables of recipes with overrides, from recipes and the `comparison.yaml` in their folder.

title: The lab
threshold: 0.7                    # accuracy for which the report gives the cost of reaching it
recipes: [sft, grpo, prefix_rft]  # of the first table, in this order; by default all in the folder
tables:                           # further ones
  - title: Quality of the demonstrations
    seeds: 3                      # at most
    rows: [sft, prefix_rft]       # recipes, or a mapping from a label to a recipe with overrides
    columns:                      # overrides by title; a table without columns is reported in full
      clean: {}
      30% corrupted: {lab_corrupted_share: 0.3}

A map of regimes (`map:`, see regime_spec.py) takes the place of the first table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .regime_map import Levels, RegimeMap, describe
from .regime_spec import RegimeReader
from .trials import Trial, TrialReader, check_keys, mapping


SPECIFICATION = "comparison.yaml"
_KEYS = {"title": str, "threshold": float, "recipes": list, "labels": dict, "note": str, "tables": list, "map": dict}
_TABLE_KEYS = {"title": str, "note": str, "seeds": int, "rows": dict | list, "columns": dict}

TrialRow = tuple[str, list[Trial]]


@dataclass(frozen=True)
class TrialTable:
    """A table to run: its rows have one trial in each column."""

    title: str
    note: str
    columns: list[str]
    rows: list[TrialRow]


@dataclass(frozen=True)
class Specification:
    """Tables and a map to run, or the one table of a cell, given by its levels that are not the first of an axis."""

    title: str
    threshold: float
    tables: list[TrialTable]
    map: RegimeMap[Trial] | None = None
    cell: Levels | None = None
    note: str = ""  # on a map

    @property
    def trials(self) -> list[Trial]:
        return [trial for group in self.groups for trial in group]

    @property
    def groups(self) -> list[list[Trial]]:
        """Trials that are compared, and so measured on the same problems: those of all tables, and of each cell."""
        tables = [[trial for table in self.tables for _, row in table.rows for trial in row]]
        cells = [list(cell.values()) for cell in self.map.cells.values()] if self.map else []
        return [group for group in tables + cells if group]


def read_specification(
    recipes: dict[Path, dict[str, Any]],
    contents: dict[str, Any],
    seeds: int,
    overrides: dict[str, Any],
    takes: Callable[[Path, str], bool] = lambda path, name: True,
    cell: str | None = None,
) -> Specification:
    """Read the tables of a comparison, and its map.

    Args:
        recipes (`dict[Path, dict]`): settings of the recipes by path, in order.
        contents (`dict`): of `comparison.yaml`; empty without one.
        seeds (`int`): seeds of the first table, and at most of the others.
        overrides (`dict`): settings for all runs.
        takes (`Callable`): whether the recipe of a path takes such a setting; one that no recipe takes is left to all,
            to be refused.
        cell (`str`, *optional*): of the map, as `axis=level,axis=level`, to be the one table, reported in full.

    Raises:
        ValueError: naming the table or the place in the map, and what is wrong in it.
    """
    check_keys(contents, _KEYS, SPECIFICATION)
    taken = {name: any(takes(path, name) for path in recipes) for name in overrides}
    for_all = {
        path: {name: value for name, value in overrides.items() if takes(path, name) or not taken[name]}
        for path in recipes
    }
    trials = TrialReader(recipes, for_all)
    labels = contents.get("labels") or {}
    names = contents.get("recipes") or list(trials.paths)
    title, threshold = contents.get("title", "Comparison"), contents.get("threshold", 0.5)
    first = {"title": "Methods", "note": contents.get("note", ""), "rows": names}
    regimes = None
    if "map" in contents:
        methods = {str(name): str(labels.get(name, name)) for name in names}
        regimes = RegimeReader(contents["map"], trials, methods, seeds, f"{SPECIFICATION}, map")
    if cell is not None:
        if regimes is None:
            raise ValueError(f"--cell is of a map, and there is no `map:` in a {SPECIFICATION} of the given folders.")
        levels = regimes.parse_cell(cell)
        return Specification(title, threshold, [_cell_table(regimes, levels, first["note"])], cell=levels)
    reader = _TableReader(trials, labels, seeds)
    given_tables = [*([] if regimes else [first]), *(contents.get("tables") or [])]
    tables = [reader.table(given) for given in given_tables]
    if regimes is None:
        return Specification(title, threshold, tables)
    return Specification(title, threshold, tables, regimes.read(), note=first["note"])


def _cell_table(regimes: RegimeReader, levels: Levels, note: str) -> TrialTable:
    rows = [(label, [trial]) for label, trial in regimes.cell(levels).items()]
    return TrialTable(f"Methods at {describe(levels)}", note, [], rows)


@dataclass(frozen=True)
class _TableReader:
    """What all tables of a specification share."""

    trials: TrialReader
    labels: dict[str, str]
    seeds: int

    def table(self, given: Any) -> TrialTable:
        given = mapping(given, f"{SPECIFICATION}, tables")
        where = f"{SPECIFICATION}, table {given.get('title', '?')!r}"
        check_keys(given, _TABLE_KEYS, where)
        rows = given.get("rows") or []
        if isinstance(rows, list):
            if not all(isinstance(name, str) for name in rows):
                raise ValueError(f"{where}: a list of rows holds names of recipes. Write others as `label: {{...}}`.")
            rows = {self.labels.get(name, name): name for name in rows}
        if not rows:
            raise ValueError(f"{where}: no rows.")
        seeds = given.get("seeds", self.seeds)
        if seeds < 1:
            raise ValueError(f"{where}: `seeds` must be an integer of at least 1, found {seeds!r}.")
        columns = mapping(given.get("columns"), f"{where}, columns")
        read = [
            self.row(label, own, columns, min(seeds, self.seeds), where)
            for label, own in mapping(rows, f"{where}, rows").items()
        ]
        return TrialTable(given.get("title", ""), given.get("note", ""), [str(title) for title in columns], read)

    def row(self, label: str, given: Any, columns: dict[str, Any], seeds: int, where: str) -> TrialRow:
        where = f"{where}, row {label!r}"
        own = {"recipe": given} if isinstance(given, str) else dict(mapping(given, where))
        recipe = own.pop("recipe", None)
        if recipe is None:
            raise ValueError(f"{where}: no recipe. Name it, such as `recipe: prefix_rft`.")
        cells = [mapping(cell, f"{where}, column {title!r}") for title, cell in columns.items()] or [{}]
        return str(label), [self.trials.trial(recipe, {**own, **cell}, seeds, where) for cell in cells]
