"""Recipes: YAML files of settings, of one training or of several stages that follow each other.

A recipe of stages has, besides settings that its stages share, a mapping `stages` from a name to the settings of that
stage alone. Each starts from the model that the one before has made:

    model_name_or_path: lab
    output_dir: runs/lab-sft-then-rft
    stages:
      sft: {trainer: sft, learning_rate: 1.0e-3}
      rft: {learning_rate: 2.0e-4}

A shared setting goes to the stages whose trainer knows it. So does a flag of the command line, unless it names its
stage: `--sft.learning_rate 3e-4`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.errors import UserError, nearest
from prefix_rft_trl.utils.recipe_files import find_recipe_file, recipe_names


DEFAULT_TRAINER = "prefix_grpo"
Knows = Callable[[str, str], bool]


@dataclass
class Stage:
    """One training: its settings, and the flags of the command line that override them."""

    name: str
    settings: dict[str, Any]
    flags: list[str] = field(default_factory=list)

    @property
    def trainer(self) -> str:
        given = [values for name, values in grouped(self.flags) if name == "trainer"]
        return given[-1][-1] if given and given[-1] else self.settings.get("trainer", DEFAULT_TRAINER)

    def pop_flag(self, setting: str) -> list[str]:
        """Takes a flag away; returns its values, none if it was not there."""
        groups = grouped(self.flags)
        self.flags = [part for name, values in groups if name != setting for part in (f"--{name}", *values)]
        return [value for name, values in groups if name == setting for value in values]


def read_recipe(argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The settings of the recipe that `--config` names, if any, and the flags of the line that are left."""
    argv = with_config_apart(argv)
    if "--config" not in argv:
        return {}, argv
    place = argv.index("--config")
    if place + 1 == len(argv):
        raise UserError("--config takes the path of a recipe, and none follows it.")
    return load_recipe(Path(argv[place + 1])), argv[:place] + argv[place + 2 :]


def with_config_apart(argv: list[str]) -> list[str]:
    """The line with `--config=PATH` as two parts, the only form that TrlParser knows, and the path of a file."""
    parts = [part for flag in argv for part in (flag.split("=", 1) if flag.startswith("--config=") else [flag])]
    return with_recipe_files(parts, "--config")


def with_recipe_files(line: list[str], flag: str) -> list[str]:
    """A line in which the file that follows a flag is one that is there, of the package if need be."""
    before = ["", *line]
    return [str(find_recipe_file(part)) if after == flag else part for after, part in zip(before, line, strict=False)]


def load_recipe(path: Path) -> dict[str, Any]:
    import yaml

    path = find_recipe_file(path)
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder. In it: {', '.join(_recipes_in(path)) or 'no recipe'}.")
    if not path.is_file():
        raise UserError(f"there is no recipe {str(path)!r}.{_hint(path)}")
    try:
        recipe = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"the recipe {str(path)!r} is not YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise UserError(f"the recipe {str(path)!r} is not a mapping of settings to values.")
    return recipe


def _recipes_in(folder: Path) -> list[str]:
    return sorted(str(file) for file in folder.glob("*.yaml"))


def _hint(path: Path) -> str:
    if beside := _recipes_in(path.parent):
        return f" In that folder: {', '.join(beside)}."
    name = str(path.with_suffix("")).removeprefix("recipes/")
    return f"{nearest(name, recipe_names())} `prefix-rft recipes` lists those of the package."


def trainer_of(argv: list[str]) -> str:
    """The trainer that a recipe and the flags of a line ask for."""
    return Stage("", *read_recipe(argv)).trainer


def grouped(flags: list[str]) -> list[tuple[str, list[str]]]:
    """`["--a", "1", "2", "--b=3"]` as `[("a", ["1", "2"]), ("b", ["3"])]`."""
    groups: list[tuple[str, list[str]]] = []
    for part in flags:
        if part.startswith("--"):
            name, is_assigned, value = part.removeprefix("--").partition("=")
            groups.append((name.replace("-", "_"), [value] if is_assigned else []))
        elif groups:
            groups[-1][1].append(part)
        else:
            raise UserError(f"{part!r} is not a flag; settings are given as `--setting value`.")
    return groups


def split_stages(recipe: dict[str, Any], flags: list[str], knows: Knows) -> list[Stage]:
    """The trainings of a recipe, in order, each with its folder and the model that it starts from.

    Args:
        recipe (`dict`): its settings.
        flags (`list[str]`): of the command line.
        knows (`Callable`): whether a trainer, or what launches it, knows a setting.

    Raises:
        UserError: for a setting that no stage knows, or a stage that does not exist.
    """
    if "stages" not in recipe:
        return [Stage("", dict(recipe), flags)]
    of_stages = recipe["stages"]
    if not (isinstance(of_stages, dict) and of_stages and all(isinstance(own, dict) for own in of_stages.values())):
        raise UserError("`stages` is a mapping from the name of a stage to its settings.")
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    stages = [Stage(name, dict(own)) for name, own in of_stages.items()]
    if changing := [stage.name for stage in stages[1:] if "model_changes" in stage.settings]:
        raise UserError(
            f"stage '{changing[0]}' has `model_changes` of its own, but goes on with the model of the stage before. "
            "Set them for the whole recipe."
        )
    for setting, value in shared.items():
        for stage in _that_know(setting, stages, knows, "recipe"):
            stage.settings.setdefault(setting, value)
    for setting, values in grouped(flags):
        _add_flag(setting, values, stages, knows)
    _chain(stages, shared, flags)
    return stages


def _that_know(setting: str, stages: list[Stage], knows: Knows, origin: str) -> list[Stage]:
    found = [stage for stage in stages if knows(stage.trainer, setting)]
    if not found:
        trainers = ", ".join(stage.trainer for stage in stages)
        raise UserError(f"unknown setting '{setting}' in the {origin}: no stage knows it (trainers: {trainers}).")
    return found


def _add_flag(setting: str, values: list[str], stages: list[Stage], knows: Knows) -> None:
    name, is_of_stage, of_stage = setting.partition(".")
    if is_of_stage:
        chosen = [stage for stage in stages if stage.name == name]
        if not chosen:
            names = [stage.name for stage in stages]
            raise UserError(f"the recipe has no stage '{name}'; it has: {', '.join(names)}.{nearest(name, names)}")
        if not knows(chosen[0].trainer, of_stage):
            raise UserError(f"unknown setting '{of_stage}' for the trainer of stage '{name}'.")
    else:
        of_stage, chosen = setting, _that_know(setting, stages, knows, "command line")
    for stage in chosen:
        stage.flags += [f"--{of_stage}", *values]


def _chain(stages: list[Stage], shared: dict[str, Any], flags: list[str]) -> None:
    given = [values[0] for name, values in grouped(flags) if name == "output_dir" and values]
    folder = Path(given[-1] if given else shared.get("output_dir", "runs/stages"))
    model = None
    for stage in stages:
        own = folder if stage is stages[-1] else folder / stage.name
        decided = {"output_dir": str(own)} | ({"model_name_or_path": model} if model else {})
        stage.settings |= decided
        for setting in decided:
            stage.pop_flag(setting)
        if model:  # it has them from the stage before
            stage.settings.pop("model_changes", None)
            stage.pop_flag("model_changes")
        model = str(own)
