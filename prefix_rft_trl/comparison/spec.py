"""What is compared: tables of recipes with overrides, from recipes and a `comparison.yaml` beside them.

title: The lab
threshold: 0.7                    # accuracy of which the cost of reaching it is told
recipes: [sft, grpo, prefix_rft]  # of the first table, in this order; all in the folder without it
tables:                           # further ones
  - title: Quality of the demonstrations
    seeds: 3                      # at most so many
    rows: [sft, prefix_rft]       # recipes, or a mapping from a label to a recipe with overrides
    columns:                      # overrides by title; without columns a table is told in full
      clean: {}
      30% damaged: {lab_damaged_share: 0.3}
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any


SPECIFICATION = "comparison.yaml"
_OF_NO_MATTER = ("output_dir", "seed")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


@dataclass(frozen=True)
class Trial:
    """A recipe with overrides, which is run with several seeds.

    Attributes:
        path (`Path`): of the recipe.
        overrides (`dict`): settings by name, of one stage as `stage.setting`.
        settings (`dict`): all of the recipe's settings with the overrides, those of a stage as `stage.setting`.
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
        """Of its folder: the same for the same settings, whatever table asks for it."""
        text = repr(sorted((name, repr(value)) for name, value in self.settings.items()))
        return f"{self.path.stem}-{blake2b(text.encode(), digest_size=4).hexdigest()}"

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
    """A table before it has been run: rows of one trial a column."""

    title: str
    note: str
    columns: list[str]
    rows: list[tuple[str, list[Trial]]]


@dataclass(frozen=True)
class Specification:
    title: str
    threshold: float
    tables: list[TrialTable] = field(default_factory=list)


def read_specification(
    recipes: list[Path],
    contents: dict[str, Any],
    loaded: dict[Path, dict[str, Any]],
    seeds: int,
    extra: dict[str, Any],
) -> Specification:
    """The tables of a comparison.

    Args:
        recipes (`list[Path]`): recipes that were found, in order.
        contents (`dict`): of `comparison.yaml`; empty without one.
        loaded (`dict`): the recipes' settings by path.
        seeds (`int`): seeds of the first table, and at most of the others.
        extra (`dict`): overrides for all runs.

    Raises:
        ValueError: naming the table and what in it is wrong.
    """
    known = {"title", "threshold", "recipes", "labels", "note", "tables"}
    if unknown := set(contents) - known:
        raise ValueError(f"{SPECIFICATION}: unknown key {sorted(unknown)[0]!r}. Known: {', '.join(sorted(known))}.")
    paths = {path.stem: path for path in recipes}
    labels = contents.get("labels") or {}

    def trial(recipe: str, overrides: dict[str, Any], most_seeds: int, where: str) -> Trial:
        if recipe not in paths:
            raise ValueError(f"{where}: there is no recipe {recipe!r}. Known: {', '.join(paths)}.")
        overrides = numbers_read({**overrides, **extra})
        if unset := [name for name, value in overrides.items() if value is None]:
            raise ValueError(f"{where}: {unset[0]!r} has no value. Write one, or leave the setting out.")
        path = paths[recipe]
        stages = stages_of(loaded[path], str(path))
        settings = with_overrides(flattened(loaded[path]), overrides, stages, where)
        kept = {name: value for name, value in settings.items() if name.split(".")[-1] not in _OF_NO_MATTER}
        return Trial(path, overrides, kept, min(seeds, most_seeds), stages)

    def row(given: Any, label: str, columns: dict[str, Any], most_seeds: int, where: str) -> tuple[str, list[Trial]]:
        where = f"{where}, row {label!r}"
        own = {"recipe": given} if isinstance(given, str) else dict(_mapping(given, where))
        recipe = own.pop("recipe", None)
        if recipe is None:
            raise ValueError(f"{where}: a row names its recipe, as `recipe: prefix_rft`.")
        cells = [_mapping(cell, f"{where}, column {title!r}") for title, cell in columns.items()] or [{}]
        return str(label), [trial(recipe, {**own, **cell}, most_seeds, where) for cell in cells]

    def table(given: Any) -> TrialTable:
        given = _mapping(given, f"{SPECIFICATION}, tables")
        where = f"{SPECIFICATION}, table {given.get('title', '?')!r}"
        if unknown := set(given) - {"title", "note", "seeds", "rows", "columns"}:
            raise ValueError(f"{where}: unknown key {sorted(unknown)[0]!r}.")
        rows = given.get("rows") or []
        if isinstance(rows, list):
            if not all(isinstance(name, str) for name in rows):
                raise ValueError(f"{where}: a list of rows holds names of recipes; other rows are `label: {{...}}`.")
            rows = {labels.get(name, name): name for name in rows}
        if not rows:
            raise ValueError(f"{where}: no rows.")
        most_seeds = given.get("seeds", seeds)
        if not isinstance(most_seeds, int) or most_seeds < 1:
            raise ValueError(f"{where}: `seeds` is a number from 1, found {most_seeds!r}.")
        columns = _mapping(given.get("columns"), f"{where}, columns")
        made = [row(own, label, columns, most_seeds, where) for label, own in _mapping(rows, f"{where}, rows").items()]
        return TrialTable(given.get("title", ""), given.get("note", ""), [str(title) for title in columns], made)

    first = {"title": "Methods", "note": contents.get("note", ""), "rows": contents.get("recipes") or list(paths)}
    tables = [table(given) for given in [first, *(contents.get("tables") or [])]]
    return Specification(contents.get("title", "Comparison"), contents.get("threshold", 0.5), tables)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a mapping, as `name: value`, is expected, found {value!r:.80}.")
    return value


def numbers_read(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with `1e-4` as a number, which is text to YAML, as it has no point."""
    return {
        name: float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
        for name, value in settings.items()
    }


def stages_of(recipe: dict[str, Any], where: str) -> tuple[str, ...]:
    """Names of a recipe's stages, in order."""
    stages = recipe.get("stages", {})
    if not (isinstance(stages, dict) and all(isinstance(own, dict) for own in stages.values())):
        raise ValueError(f"{where}: `stages` is a mapping from the name of a stage to its settings.")
    return tuple(stages)


def flattened(recipe: dict[str, Any]) -> dict[str, Any]:
    """The settings of a recipe, those of a stage as `stage.setting`."""
    own = {name: value for name, value in recipe.items() if name != "stages"}
    stages = recipe.get("stages", {})
    of_stages = {f"{stage}.{name}": value for stage, of_it in stages.items() for name, value in of_it.items()}
    return numbers_read(own | of_stages)


def with_overrides(
    settings: dict[str, Any], overrides: dict[str, Any], stages: Sequence[str], where: str
) -> dict[str, Any]:
    """The settings of a recipe with overrides; one without a stage overrides that of every stage as well."""
    settings = dict(settings)
    for name, value in overrides.items():
        stage, is_of_stage, _ = name.partition(".")
        if is_of_stage and stage not in stages:
            raise ValueError(f"{where}: the recipe has no stage {stage!r}, of which {name!r} is to be set.")
        of_stages = [f"{own}.{name}" for own in stages if f"{own}.{name}" in settings]
        is_of_all = bool(stages) and len(of_stages) == len(stages)  # no stage is left that would take a shared one
        settings |= dict.fromkeys(of_stages if is_of_all else [*of_stages, name], value)
    return settings
