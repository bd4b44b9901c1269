"""Turn a recipe with overrides into a trial, whose folder has a name that depends on its settings alone."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.hashing import stable_hash
from prefix_rft_trl.utils.redaction import redacted
from prefix_rft_trl.utils.setting_types import check_type


_IGNORED = ("output_dir", "seed")  # they make no other trial
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


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
class TrialReader:
    """Makes trials of known recipes.

    Attributes:
        recipes (`dict[Path, dict]`): settings of the recipes by path.
        for_all (`dict[Path, dict]`): settings that override all others, by recipe.
    """

    recipes: dict[Path, dict[str, Any]]
    for_all: dict[Path, dict[str, Any]]

    @property
    def paths(self) -> dict[str, Path]:
        """The recipes by name."""
        return {path.stem: path for path in self.recipes}

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


def check_keys(given: dict[str, Any], known: dict[str, Any], where: str) -> None:
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{where}: unknown key {name!r}. Known keys: {', '.join(sorted(known))}.")
        try:
            check_type(name, known[name] | None, value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def mapping(value: Any, where: str) -> dict[str, Any]:
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
