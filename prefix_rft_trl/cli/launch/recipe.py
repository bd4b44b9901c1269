"""Recipes: YAML files of settings, for one training or for several stages that follow each other.

A recipe of stages has, besides the settings that its stages share, a mapping `stages` from the name of each stage to
its own settings. Each stage starts from the model that the one before has trained:

    model_name_or_path: lab
    output_dir: runs/lab-sft-then-rft
    stages:
      sft: {trainer: sft, learning_rate: 1.0e-3}
      rft: {learning_rate: 2.0e-4}

A shared setting goes to the stages whose trainer has it. So does a flag of the command line, unless it names its
stage: `--sft.learning_rate 3e-4`.

A recipe can have a `base`, another recipe whose settings it takes: inheritance.py.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from prefix_rft_trl.utils.errors import UserError, as_user_error, nearest
from prefix_rft_trl.utils.recipe_files import find_recipe_file, recipe_names
from prefix_rft_trl.utils.redaction import redacted
from prefix_rft_trl.utils.renamed import current_flags
from prefix_rft_trl.utils.setting_types import check_type

from .recipe_secrets import with_secrets


if TYPE_CHECKING:
    from .arguments import SettingsParser

DEFAULT_TRAINER = "prefix_grpo"
DEFAULT_FOLDER_OF_STAGES = "runs/stages"
SHARED_BASE = "base.yaml"  # in a folder of recipes: what they share, and none of them
IsSetting = Callable[[str, str], bool]
Flag = tuple[str, list[str]]  # name and values
Value = TypeVar("Value")


@dataclass(frozen=True)
class Recipe:
    """
    The settings of a training and the flags that override them: read once, then handed on.

    Attributes:
        settings (`dict`): settings of the YAML file.
        flags (`list[str]`): flags of the command line, without `--config`.
        path (`Path`, *optional*): the YAML file.
        stage (`str`): name of the stage, if it is a recipe for one.
        origins (`dict[str, Path]`): the file in which a setting stands, the recipe's or that of a `base`.
    """

    settings: dict[str, Any]
    flags: list[str] = field(default_factory=list)
    path: Path | None = None
    stage: str = ""
    origins: dict[str, Path] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, argv: list[str]) -> "Recipe":
        """The recipe that `--config` names, if any, and the other flags of a command line."""
        parts = [part for flag in argv for part in (flag.split("=", 1) if flag.startswith("--config=") else [flag])]
        line = current_flags(parts)
        if "--config" not in line:
            return cls({}, line)
        place = line.index("--config")
        if place + 1 == len(line) or line[place + 1].startswith("--"):
            raise UserError("`--config` needs the path or the name of a recipe.")
        if line.count("--config") > 1:
            raise UserError(
                "`--config` is given twice, and a run has one recipe. Several trainings in a row are `stages` of one; "
                "`prefix-rft compare` runs several side by side."
            )
        from .inheritance import read_with_bases

        path = recipe_path(line[place + 1])
        flags = line[:place] + line[place + 2 :]
        settings, origins = read_with_bases(path, flags)
        return cls(with_secrets(settings, str(path)), flags, path, origins=origins)

    def write(self, path: Path) -> "Recipe":
        """Writes the settings, without secrets, into a file; returns the recipe of that file, with them."""
        import yaml

        text = yaml.safe_dump(redacted(self.settings), sort_keys=False, allow_unicode=True)
        path.write_text(text, encoding="utf-8")
        return replace(self, path=path)

    @property
    def command_line(self) -> list[str]:
        """The flags from which another process reads the same recipe."""
        return [*(["--config", str(self.path)] if self.path else []), *self.flags]

    @property
    def trainer(self) -> str:
        given = self.flag_values("trainer")
        trainer = given[-1] if given else self.settings.get("trainer", DEFAULT_TRAINER)
        with as_user_error(ValueError):
            check_type("trainer", str, trainer, DEFAULT_TRAINER)
        return trainer

    def check_environment(self) -> None:
        """Raises a UserError if `env` is not a mapping from environment variables to values."""
        env = self.settings.get("env", {})
        if not isinstance(env, dict):
            raise UserError(f"`env` is a mapping from environment variables to values, found {env!r}.")
        for name, value in env.items():
            if not isinstance(name, str) or not name or "=" in name:
                raise UserError(f"`env` names environment variables, found {name!r}. Correct it.")
            if value is None or isinstance(value, dict | list):
                raise UserError(f"`env` gives each variable a text, found {name!r}: {value!r:.80}. Correct its value.")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "parser"}  # which cannot be pickled

    def flag_values(self, setting: str) -> list[str]:
        return [value for name, values in grouped(self.flags) if name == setting for value in values]

    def without_flags(self, *settings: str) -> "Recipe":
        return replace(self, flags=_joined([flag for flag in grouped(self.flags) if flag[0] not in settings]))

    @cached_property
    def parser(self) -> "SettingsParser":
        """The parser of the trainer's settings, with those of the recipe as defaults. It is made once."""
        from .arguments import make_parser

        parser = make_parser(self.trainer)
        parser.set_defaults_with_config(**{name: value for name, value in self.settings.items() if name != "env"})
        return parser

    def parse(self) -> tuple[Any, ...]:
        """The arguments of script, trainer and model. The variables of `env` are set before they are made."""
        self.check_environment()
        os.environ.update({name: str(value) for name, value in self.settings.get("env", {}).items()})
        return self.parser.parse_args_into_dataclasses(self.flags)

    def trainings(self, is_setting: IsSetting) -> list["Recipe"]:
        """
        A recipe for each training, in order. That of a stage says where it trains and from which model.

        Args:
            is_setting (`Callable`): whether a trainer, or what launches it, has a setting.

        Raises:
            UserError: for a setting that no stage has, or a stage that does not exist.
        """
        if "stages" not in self.settings:
            return [self]
        own = _checked_stages(self.settings["stages"])
        shared = [(name, value) for name, value in self.settings.items() if name != "stages"]
        flags = grouped(self.flags)
        trainers = {}
        for stage, settings in own.items():
            if "output_dir" in settings or f"{stage}.output_dir" in {**dict(shared), **dict(flags)}:
                raise UserError(
                    f"stage '{stage}' has an `output_dir` of its own, but trains in that of the recipe, or in a "
                    "folder of its name there. Set `output_dir` for the entire recipe."
                )
            complete = Recipe({**dict(_for_stage(stage, shared)), **settings}, _joined(_for_stage(stage, flags)))
            trainers[stage] = complete.trainer
        for origin, names in (("recipe", dict(shared)), ("command line", dict(flags))):
            _refuse_unknown(names, trainers, is_setting, origin)
        stages = []
        for stage, trainer in trainers.items():
            settings = {name: value for name, value in _for_stage(stage, shared) if is_setting(trainer, name)}
            known = [flag for flag in _for_stage(stage, flags) if is_setting(trainer, flag[0])]
            origins = dict(_for_stage(stage, [*self.origins.items()]))
            origins |= dict.fromkeys(own[stage], origins.pop("stages")) if origins else {}
            stages.append(Recipe({**settings, **own[stage]}, _joined(known), stage=stage, origins=origins))
        folders = self.flag_values("output_dir") or [self.settings.get("output_dir", DEFAULT_FOLDER_OF_STAGES)]
        with as_user_error(ValueError):
            check_type("output_dir", str, folders[-1])
        return _chained(stages, Path(folders[-1]))


def load_recipe(path: str | Path) -> dict[str, Any]:
    """The settings of a recipe, by its path or its name in the package, with those of its `base`."""
    from .inheritance import read_with_bases

    return read_with_bases(recipe_path(path))[0]


def recipe_path(name: str | Path) -> Path:
    """The file of a recipe, by its path or its name in the package."""
    path = find_recipe_file(name)
    if path.is_file():
        return path
    folder = path if path.is_dir() else path.parent
    inside = ", ".join(file.name for file in sorted(folder.glob("*.yaml")))
    if path.is_dir():
        raise UserError(f"{str(name)!r} is a folder. Name a recipe in it: {inside or 'there is none'}.")
    if inside:
        raise UserError(f"there is no recipe {str(name)!r}. In that folder: {inside}.")
    hint = nearest(str(path.with_suffix("")).removeprefix("recipes/"), recipe_names())
    raise UserError(f"there is no recipe {str(name)!r}.{hint} `prefix-rft recipes` lists those of the package.")


def grouped(flags: list[str]) -> list[Flag]:
    """`["--a", "1", "2", "--b=3"]` as `[("a", ["1", "2"]), ("b", ["3"])]`."""
    groups: list[Flag] = []
    for part in flags:
        if part.startswith("--"):
            name, is_assigned, value = part.removeprefix("--").partition("=")
            groups.append((name.replace("-", "_"), [value] if is_assigned else []))
        elif groups:
            groups[-1][1].append(part)
        else:
            raise UserError(f"{part!r} is not a flag; settings are given as `--setting value`.")
    return groups


def parse_flags(flags: list[str]) -> dict[str, Any]:
    """Settings of a command line, with their values as in the YAML of a recipe."""
    values = {name: [_parse_value(value) for value in words] for name, words in grouped(flags)}
    return {name: found[0] if len(found) == 1 else found or True for name, found in values.items()}


def _parse_value(text: str) -> Any:
    """A number, a switch or nothing, where it has the usual spelling; any other text as it is."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    is_usual = value is None or (isinstance(value, bool | int | float) and str(value).lower() == text.lower())
    return value if is_usual else text


def _joined(groups: list[Flag]) -> list[str]:
    return [part for name, values in groups for part in (f"--{name}", *values)]


def _checked_stages(stages: Any) -> dict[str, dict[str, Any]]:
    if not (isinstance(stages, dict) and stages and all(isinstance(own, dict) for own in stages.values())):
        raise UserError("`stages` is a mapping from the name of each stage to its settings.")
    for stage, own in list(stages.items())[1:]:
        if "model_changes" in own:
            raise UserError(
                f"stage '{stage}' has `model_changes` of its own, but starts from the model of the stage before. Set "
                "them for the entire recipe."
            )
    return stages


def _for_stage(stage: str, named: list[tuple[str, Value]]) -> list[tuple[str, Value]]:
    """Those settings or flags that name no stage, and those that name this one, without its name."""
    return [(name.removeprefix(f"{stage}."), value) for name, value in named if name.rpartition(".")[0] in ("", stage)]


def naming_hint(name: str, value: Any, is_known: Callable[[str], bool]) -> str:
    """What a name that is no setting was meant for: one with a dash or capitals, or a group of settings."""
    spelling = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    if spelling != name and is_known(spelling):
        return f" In a recipe it is written `{spelling}`."
    if isinstance(value, dict) and any(is_known(str(inner)) for inner in value):
        return f" A recipe has no groups: write the settings in `{name}` at its top level."
    if "." in name and is_known(name.rpartition(".")[2]):
        return " The recipe has no stages, so a setting names none."
    return ""


def owner_hint(name: str, is_setting: IsSetting) -> str:
    """The trainer that has a setting which another one is given."""
    owners = [trainer for trainer in (DEFAULT_TRAINER, "sft") if is_setting(trainer, name)]
    return f" It is a setting of `trainer: {owners[0]}`." if owners else ""


def _refuse_unknown(names: Mapping[str, Any], trainers: dict[str, str], is_setting: IsSetting, origin: str) -> None:
    for name, value in names.items():
        stage, _, setting = name.rpartition(".")
        if stage and stage not in trainers:
            raise UserError(
                f"the recipe has no stage '{stage}'; it has: {', '.join(trainers)}.{nearest(stage, trainers)}"
            )
        receivers = [trainers[stage]] if stage else list(trainers.values())
        is_known = partial(_has_any, receivers, is_setting)
        if not is_known(setting):
            where = f"for stage '{stage}'" if stage else f"in the {origin}: no stage has it"
            hint = naming_hint(setting, value, is_known) or owner_hint(setting, is_setting)
            raise UserError(f"unknown setting '{setting}' {where} (trainer: {', '.join(receivers)}).{hint}")


def _has_any(trainers: list[str], is_setting: IsSetting, name: str) -> bool:
    return any(is_setting(trainer, name) for trainer in trainers)


def _chained(stages: list[Recipe], folder: Path) -> list[Recipe]:
    """Stages of which each starts from the model of the one before, and the last one trains in the recipe's folder."""
    chained: list[Recipe] = []
    for stage in stages:
        decided = {"output_dir": str(folder if stage is stages[-1] else folder / stage.stage)}
        settings = stage.settings
        if chained:  # the model comes with its changes
            decided["model_name_or_path"] = chained[-1].settings["output_dir"]
            settings = {name: value for name, value in settings.items() if name != "model_changes"}
            stage = stage.without_flags("model_changes")
        chained.append(replace(stage.without_flags(*decided), settings={**settings, **decided}))
    return chained
