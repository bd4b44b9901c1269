"""`prefix-rft recipes`: lists the recipes that come with the package, shows one, copies it, or makes its model."""

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

from prefix_rft_trl.recipe_files import FOLDER, find_recipe_file

from .errors import UserError, nearest
from .recipe import grouped, load_recipe


DESCRIPTION = """\
The recipes that come with the package. Wherever a command takes the path of a recipe, it takes its name as well:

  prefix-rft train --config lab/prefix_rft

  prefix-rft recipes                      list them
  prefix-rft recipes show NAME            print one: how to get model and data, the command, what to expect
  prefix-rft recipes copy NAME [FOLDER]   copy one, or a folder of them, to change it
  prefix-rft recipes model NAME           make the model that it trains, with the changes of its `model_changes`, and
                                          print its folder, which a vLLM server is started with"""

NOT_OF_TRAINING = {"accelerate", "deepspeed", "slurm", "templates"}


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="prefix-rft recipes",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="prefix-rft recipes [show NAME | copy NAME [FOLDER] | model NAME [--SETTING VALUE ...]]",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=["list", *ACTIONS], default="list", help=argparse.SUPPRESS)
    parser.add_argument("name", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help=argparse.SUPPRESS)
    arguments, settings = parser.parse_known_args(argv)
    if arguments.action == "list":
        print_list()
        return 0
    if not arguments.name:
        raise UserError(f"`{arguments.action}` takes the name of a recipe; `prefix-rft recipes` lists them.")
    if settings and arguments.action != "model":
        raise UserError(f"`{arguments.action}` takes no {settings[0]}.")
    ACTIONS[arguments.action](arguments, settings)
    return 0


def names() -> list[str]:
    """The recipes of the package, as `lab/prefix_rft`."""
    found = [path.relative_to(FOLDER).with_suffix("") for path in FOLDER.glob("*/*.yaml")]
    return sorted(str(name) for name in found if name.parts[0] not in NOT_OF_TRAINING and name.name != "comparison")


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
    for name in names():
        if folder and not name.startswith(f"{folder}/"):
            table.add_row()
        folder = name.partition("/")[0]
        table.add_row(name, purpose(FOLDER / f"{name}.yaml"))
    Console().print(table)
    print("\n`prefix-rft recipes show NAME` prints one, `prefix-rft train --config NAME` trains it.")


def _show(arguments: argparse.Namespace, _: list[str]) -> None:
    print(_found(arguments.name).read_text(), end="")


def _copy(arguments: argparse.Namespace, _: list[str]) -> None:
    source = _found(arguments.name, or_folder=True)
    target = arguments.folder / source.name
    if target.exists():
        raise UserError(f"{target} is there already, and is not replaced.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    print(target)


def _model(arguments: argparse.Namespace, flags: list[str]) -> None:
    import yaml

    recipe = load_recipe(_found(arguments.name))
    stages = list(recipe.get("stages", {"": {}}).values())
    settings = {**recipe, **stages[0]} | {
        name: yaml.safe_load(values[-1]) for name, values in grouped(flags) if values
    }
    model = settings.get("model_name_or_path")
    if not model:
        raise UserError(f"{arguments.name} names no model: add `--model_name_or_path NAME`.")
    print(_made(model, settings))


def _made(model: str, settings: dict[str, Any]) -> str:
    if model == "lab":
        from prefix_rft_trl import lab

        model = lab.base_model_path(settings.get("lab_level", "easy"))
    if not settings.get("model_changes"):
        return model
    from prefix_rft_trl.changed_model import ModelChanges, changed_model

    try:
        return changed_model(model, ModelChanges.read(settings["model_changes"]), settings.get("model_revision"))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _found(name: str, or_folder: bool = False) -> Path:
    path = find_recipe_file(name)
    if path.is_file() or (or_folder and path.is_dir()):
        return path
    raise UserError(f"there is no recipe {name!r}.{nearest(name, names())} `prefix-rft recipes` lists them.")


ACTIONS = {"show": _show, "copy": _copy, "model": _model}
