"""`prefix-rft recipes`: lists the recipes that come with the package, shows one, copies it, or makes its model."""

import argparse
import re
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.errors import UserError, nearest
from prefix_rft_trl.utils.recipe_files import FOLDER, find_recipe_file, recipe_names

from .launch.recipe import grouped, load_recipe, split_stages


DESCRIPTION = """\
The recipes that come with the package. Wherever a command takes the path of a recipe, it takes its name as well:

  prefix-rft train --config lab/prefix_rft

  prefix-rft recipes                      list them
  prefix-rft recipes show NAME            print one: how to get model and data, the command, what to expect
  prefix-rft recipes copy NAME [FOLDER]   copy one, or a folder of them, to change it
  prefix-rft recipes model NAME           make the model that it trains, with the changes of its `model_changes`, and
                                          print its folder, which a vLLM server is started with"""


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="prefix-rft recipes",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="prefix-rft recipes [show NAME | copy NAME [FOLDER] | model NAME [--SETTING VALUE ...]]",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", help="one of the above")
    show, copy, model = (actions.add_parser(name, allow_abbrev=False) for name in ("show", "copy", "model"))
    for action in (show, copy, model):
        action.add_argument("name", help="of a recipe, or its path")
    copy.add_argument("folder", nargs="?", type=Path, default=Path(), help="or the name of a new file (.)")
    arguments, flags = parser.parse_known_args(argv)
    if flags and arguments.action != "model":
        raise UserError(f"unknown: {' '.join(flags)}. `prefix-rft recipes --help` tells more.")
    match arguments.action:
        case None:
            print_list()
        case "show":
            print(_recipe(arguments.name).read_text(), end="")
        case "copy":
            print(copy_recipes(arguments.name, arguments.folder))
        case "model":
            print(model_of(_recipe(arguments.name), flags))
    return 0


def purpose(recipe: Path) -> str:
    """The first sentence of the comment that a recipe opens with."""
    comment = []
    for line in recipe.read_text().splitlines():
        if not line.startswith("#") or line.strip() == "#":
            break
        comment.append(line.removeprefix("#").strip())
    return re.split(r"(?<=[.:])(?<!Dr\.)\s", " ".join(comment), maxsplit=1)[0].rstrip(".:")


def print_list() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it trains")
    folder = ""
    for name in recipe_names():
        if folder and not name.startswith(f"{folder}/"):
            table.add_row()
        folder = name.partition("/")[0]
        table.add_row(name, purpose(FOLDER / f"{name}.yaml"))
    console = Console()  # which ends quietly where `head` has seen enough
    console.print(table)
    console.print("\n`prefix-rft recipes show NAME` prints one, `prefix-rft train --config NAME` trains it.")


def copy_recipes(name: str, target: Path) -> Path:
    """Copies a recipe, or each of a folder, into a folder or under a new name; the commands in them name the copy."""
    source = find_recipe_file(name)
    if not source.is_dir():
        source = _recipe(name)
    copy = target if target.suffix in (".yaml", ".yml") and source.is_file() else target / source.name
    if copy.exists():
        raise UserError(f"{copy} is there already, and is not replaced.")
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for file in files:
        path = copy / file.relative_to(source) if source.is_dir() else copy
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_naming(path, file))
    return copy


def _naming(path: Path, original: Path) -> str:
    text = original.read_text()
    if not original.is_relative_to(FOLDER):
        return text
    name = original.relative_to(FOLDER)
    return text.replace(f"recipes/{name}", str(path)).replace(
        f"recipes model {name.with_suffix('')})", f"recipes model {path})"
    )


def model_of(path: Path, flags: list[str]) -> str:
    """The folder or the name of the model that a recipe starts from, made first if it has `model_changes`.

    Args:
        path (`Path`): of the recipe.
        flags (`list[str]`): settings that override it, as `prefix-rft train` is given them.
    """
    import yaml

    from .train import knows_setting

    stages = split_stages(load_recipe(path), flags, knows_setting)
    for name, _ in grouped(flags):
        setting = name.rpartition(".")[2]
        if not any(knows_setting(stage.trainer, setting) for stage in stages):
            raise UserError(f"unknown setting '{setting}' in the command line.")
    given = {name: yaml.safe_load(values[-1]) for name, values in grouped(stages[0].flags) if values}
    settings = {**stages[0].settings, **given}
    if not settings.get("model_name_or_path"):
        raise UserError(f"{path} names no model: add `--model_name_or_path NAME`.")
    return _made(settings["model_name_or_path"], settings)


def _made(model: str, settings: dict[str, Any]) -> str:
    if model == "lab":
        from prefix_rft_trl import lab

        model = lab.base_model_path(settings.get("lab_level", "easy"))
    if not settings.get("model_changes"):
        return model
    from prefix_rft_trl.models.changes import ModelChanges, changed_model

    try:
        return changed_model(model, ModelChanges.read(settings["model_changes"]), settings.get("model_revision"))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _recipe(name: str) -> Path:
    path = find_recipe_file(name)
    if path.is_file():
        return path
    if path.is_dir():
        inside = [found for found in recipe_names() if found.startswith(f"{path.name}/")]
        raise UserError(f"{name!r} is a folder of recipes: {', '.join(inside) or 'none of the package'}.")
    raise UserError(f"there is no recipe {name!r}.{nearest(name, recipe_names())} `prefix-rft recipes` lists them.")
