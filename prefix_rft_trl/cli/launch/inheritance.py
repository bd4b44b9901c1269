"""Resolve the `base` of a recipe: another one, of which it takes all settings that it does not have itself.

    base: base.yaml               # relative to this file; or a recipe of the package
    trainer: sft
    output_dir: runs/mine-sft

A base can have a base. A mapping, such as `env` or `stages`, replaces that of the base. Settings of a base that only
other trainers have than those of recipe and command line are left out, as those that the stages of a recipe share.
"""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.dotted_paths import look_beside
from prefix_rft_trl.utils.errors import UserError, nearest
from prefix_rft_trl.utils.recipe_files import FOLDER, find_recipe_file

from .recipe import DEFAULT_TRAINER, grouped, naming_hint, recipe_path
from .recipe_yaml import read_yaml


BASE = "base"
Settings = dict[str, Any]


def read_with_bases(path: Path, flags: Sequence[str] = ()) -> tuple[Settings, dict[str, Path]]:
    """The settings of a recipe with those of its bases, and the file that each stands in.

    Args:
        path (`Path`): of the recipe.
        flags (`Sequence[str]`): of the command line, which may name other trainers.

    Raises:
        UserError: naming the file, if one of them cannot be read, is its own base, or has an unknown setting.
    """
    look_beside(path)
    settings: Settings = {}
    files: dict[str, Path] = {}
    chain = list(_chain(path))
    for file, own in reversed(chain):
        settings |= own
        files |= dict.fromkeys(own, file)
    if len(chain) == 1:
        return settings, files
    from .arguments import CONFIGS, settings_of

    known = {"stages"}.union(*map(settings_of, CONFIGS))
    used = {"stages"}.union(*map(settings_of, trainers_of(settings, flags)))
    for name, value in settings.items():
        if _without_stage(name) not in known:
            hint = naming_hint(name, value, known.__contains__) or nearest(name, known)
            raise UserError(f"unknown setting '{name}' in {str(files[name])!r}.{hint}")
    kept = [name for name, file in files.items() if file == path or _without_stage(name) in used]
    return {name: settings[name] for name in kept}, {name: files[name] for name in kept}


def readable_text(path: Path) -> str:
    """A recipe as it was written, or, if it has a `base`, its first comment and all its settings, file by file."""
    import yaml

    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".yaml", ".yml"):  # a script or a template
        return text
    settings, files = read_with_bases(path)
    if {path} >= set(files.values()):
        return text
    comment = list(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
    parts = ["".join(line for line in comment if line.strip("# \n") != str(path))]  # which is a heading below
    for file in dict.fromkeys(files.values()):
        own = {name: value for name, value in settings.items() if files[name] == file}
        parts.append(f"# {file}\n{yaml.safe_dump(own, sort_keys=False, allow_unicode=True)}")
    return "\n".join(filter(None, parts))


def _chain(path: Path) -> Iterator[tuple[Path, Settings]]:
    """A recipe, its base, the base of that and so on, each with its own settings."""
    seen = [path]
    while True:
        settings = read_yaml(path)
        base = settings.pop(BASE, None)
        yield path, settings
        if base is None:
            return
        path = _base_path(path, base)
        if path.resolve() in [file.resolve() for file in seen]:
            circle = ", ".join(str(file) for file in [*seen, path])
            raise UserError(f"a recipe is its own base: {circle}. Remove the `base` of one of them.")
        seen.append(path)


def _base_path(recipe: Path, base: Any) -> Path:
    if not isinstance(base, str) or not base:
        raise UserError(f"`base` in {str(recipe)!r} is the path of another recipe, found {base!r:.80}.")
    packaged = find_recipe_file(base)
    beside = recipe.parent / Path(base).expanduser()
    try:
        return recipe_path(packaged if packaged.is_relative_to(FOLDER) and not beside.exists() else beside)
    except UserError as error:
        raise UserError(f"the `base` of {str(recipe)!r}: {error}") from error


def _without_stage(name: str) -> str:
    return name.rpartition(".")[2]


def trainers_of(settings: Settings, flags: Sequence[str] = ()) -> list[str]:
    """The trainers of a recipe or of its stages, also as flags name them; all where it names none that there is."""
    from .arguments import CONFIGS

    stages = settings.get("stages")
    named = [
        _trainer_of_stage(name, {**settings, **own}, flags)
        for name, own in (stages if isinstance(stages, dict) else {"": {}}).items()
        if isinstance(own, dict)
    ]
    return [trainer for trainer in CONFIGS if trainer in named] or list(CONFIGS)


def _trainer_of_stage(stage: str, settings: Settings, flags: Sequence[str]) -> Any:
    of_line = [
        value for name, values in grouped(list(flags)) if name in ("trainer", f"{stage}.trainer") for value in values
    ]
    return of_line[-1] if of_line else settings.get("trainer", DEFAULT_TRAINER)
