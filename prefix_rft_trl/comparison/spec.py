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
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.hashing import stable_hash
from prefix_rft_trl.utils.redaction import redacted
from prefix_rft_trl.utils.setting_types import check_type


SPECIFICATION = "comparison.yaml"
_IGNORED = ("output_dir", "seed")  # they make no other trial
_KEYS = {"title": str, "threshold": float, "recipes": list, "labels": dict, "note": str, "tables": list}
_TABLE_KEYS = {"title": str, "note": str, "seeds": int, "rows": dict | list, "columns": dict}
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")

TrialRow = tuple[str, list["Trial"]]


@dataclass(frozen=True)
class Trial:
    """A recipe with overrides, to be run with several seeds.

    Attributes:
        path (`Path`): of the recipe.
        overrides (`dict`): settings by name, of one stage as `stage.setting`.
        settings (`dict`): all of the recipe's settings with the overrides, those of a stage as `stage.setting`;
            without secrets.
        seeds (`int`): it is run with the seeds 0 to `seeds - 1`.
        stages (`tuple[str, ...]`): names of the recipe's stages, if it has any.
    """

    path: Path
    overrides: dict[str, Any]
    settings: dict[str, Any]
    seeds: int
    stages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of its folder: the same for the same settings, in whatever table."""
        text = repr(sorted((name, repr(value)) for name, value in self.settings.items()))
        return f"{self.path.stem}-{stable_hash(text, size=4):08x}"

    def flags(self) -> list[str]:
        """The overrides as a command line."""
        return [part for name, value in self.overrides.items() for part in (f"--{name}", *_words(value))]


def _words(value: Any) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, dict):
        return [json.dumps(value)]
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


@dataclass(frozen=True)
class TrialTable:
    """A table to run: its rows have one trial in each column."""

    title: str
    note: str
    columns: list[str]
    rows: list[TrialRow]


@dataclass(frozen=True)
class Specification:
    title: str
    threshold: float
    tables: list[TrialTable]

    @property
    def trials(self) -> list[Trial]:
        return [trial for table in self.tables for _, row in table.rows for trial in row]


def read_specification(
    recipes: dict[Path, dict[str, Any]],
    contents: dict[str, Any],
    seeds: int,
    overrides: dict[str, Any],
    takes: Callable[[Path, str], bool] = lambda path, name: True,
) -> Specification:
    """Read the tables of a comparison.

    Args:
        recipes (`dict[Path, dict]`): settings of the recipes by path, in order.
        contents (`dict`): of `comparison.yaml`; empty without one.
        seeds (`int`): seeds of the first table, and at most of the others.
        overrides (`dict`): settings for all runs.
        takes (`Callable`): whether the recipe of a path takes such a setting; one that no recipe takes is left to all,
            to be refused.

    Raises:
        ValueError: naming the table and what is wrong in it.
    """
    _check_keys(contents, _KEYS, SPECIFICATION)
    paths = {path.stem: path for path in recipes}
    taken = {name: any(takes(path, name) for path in recipes) for name in overrides}
    for_all = {
        path: {name: value for name, value in overrides.items() if takes(path, name) or not taken[name]}
        for path in recipes
    }
    reader = _TableReader(paths, recipes, contents.get("labels") or {}, seeds, for_all)
    names = contents.get("recipes") or list(paths)
    first = {"title": "Methods", "note": contents.get("note", ""), "rows": names}
    tables = [reader.table(given) for given in (first, *(contents.get("tables") or []))]
    return Specification(contents.get("title", "Comparison"), contents.get("threshold", 0.5), tables)


@dataclass(frozen=True)
class _TableReader:
    """What all tables of a specification share."""

    paths: dict[str, Path]
    recipes: dict[Path, dict[str, Any]]
    labels: dict[str, str]
    seeds: int
    for_all: dict[Path, dict[str, Any]]

    def table(self, given: Any) -> TrialTable:
        given = _mapping(given, f"{SPECIFICATION}, tables")
        where = f"{SPECIFICATION}, table {given.get('title', '?')!r}"
        _check_keys(given, _TABLE_KEYS, where)
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
        columns = _mapping(given.get("columns"), f"{where}, columns")
        read = [
            self.row(label, own, columns, min(seeds, self.seeds), where)
            for label, own in _mapping(rows, f"{where}, rows").items()
        ]
        return TrialTable(given.get("title", ""), given.get("note", ""), [str(title) for title in columns], read)

    def row(self, label: str, given: Any, columns: dict[str, Any], seeds: int, where: str) -> TrialRow:
        where = f"{where}, row {label!r}"
        own = {"recipe": given} if isinstance(given, str) else dict(_mapping(given, where))
        recipe = own.pop("recipe", None)
        if recipe is None:
            raise ValueError(f"{where}: no recipe. Name it, such as `recipe: prefix_rft`.")
        cells = [_mapping(cell, f"{where}, column {title!r}") for title, cell in columns.items()] or [{}]
        return str(label), [self.trial(recipe, {**own, **cell}, seeds, where) for cell in cells]

    def trial(self, recipe: str, overrides: dict[str, Any], seeds: int, where: str) -> Trial:
        if recipe not in self.paths:
            raise ValueError(f"{where}: there is no recipe {recipe!r}. Known: {', '.join(self.paths)}.")
        overrides = parse_numbers({**overrides, **self.for_all[self.paths[recipe]]})
        if unset := [name for name, value in overrides.items() if value is None]:
            raise ValueError(f"{where}: {unset[0]!r} has no value. Give it one, or leave the setting out.")
        path = self.paths[recipe]
        stages = _stage_names(self.recipes[path], str(path))
        settings = _with_overrides(_flatten(self.recipes[path]), overrides, stages, where)
        settings = {name: value for name, value in settings.items() if name.split(".")[-1] not in _IGNORED}
        return Trial(path, overrides, redacted(settings), seeds, stages)


def _check_keys(given: dict[str, Any], known: dict[str, Any], where: str) -> None:
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{where}: unknown key {name!r}. Known keys: {', '.join(sorted(known))}.")
        try:
            check_type(name, known[name] | None, value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a mapping, such as `name: value`, found {value!r:.80}.")
    return value


def parse_numbers(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn `1e-4` into a number: to YAML it is text, as it has no point."""
    return {
        name: float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        for name, value in settings.items()
    }


def _stage_names(recipe: dict[str, Any], where: str) -> tuple[str, ...]:
    stages = recipe.get("stages", {})
    if not (isinstance(stages, dict) and all(isinstance(own, dict) for own in stages.values())):
        raise ValueError(f"{where}: `stages` must map the name of each stage to its settings.")
    return tuple(stages)


def _flatten(recipe: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe, those of a stage as `stage.setting`."""
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    stages = recipe.get("stages", {})
    return parse_numbers(
        shared | {f"{stage}.{name}": value for stage in stages for name, value in stages[stage].items()}
    )


def _with_overrides(
    settings: dict[str, Any], overrides: dict[str, Any], stages: Sequence[str], where: str
) -> dict[str, Any]:
    """The settings of a recipe with overrides; one without a stage overrides the setting of every stage as well."""
    settings = dict(settings)
    for name, value in overrides.items():
        stage, has_stage, _ = name.partition(".")
        if has_stage and stage not in stages:
            raise ValueError(f"{where}: cannot set {name!r}, the recipe has no stage {stage!r}.")
        own = [f"{stage}.{name}" for stage in stages if f"{stage}.{name}" in settings]
        is_shared = not stages or len(own) < len(stages)  # some stage takes the shared value
        settings |= dict.fromkeys([*own, name] if is_shared else own, value)
    return settings
