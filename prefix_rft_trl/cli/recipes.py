"""`prefix-rft recipes`: list the recipes that come with the package, show or copy one, or make its model."""

import re
from pathlib import Path

from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.files import atomic_folder, write_atomically
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.recipe_files import FOLDER, find_recipe_file, recipe_names

from .flags import command_parser, read_dict
from .launch.inheritance import readable_text
from .launch.recipe import Recipe, recipe_path


DESCRIPTION = """\
The recipes that come with the package. Every command that takes the path of a recipe also takes its name:

  prefix-rft train --config lab/prefix_rft

  prefix-rft recipes                      list them
  prefix-rft recipes show NAME            print one: how to get model and data,
                                          the command, what to expect
  prefix-rft recipes copy NAME [FOLDER]   copy one, or a folder, to change it
  prefix-rft recipes model NAME           make the model that it starts from,
                                          with its `model_changes`, and print
                                          the folder, for a vLLM server"""


def run(argv: list[str]) -> int:
    parser = command_parser(
        "recipes",
        description=DESCRIPTION,
        usage="prefix-rft recipes [show NAME | copy NAME [FOLDER] |\n"
        "                          model NAME [--SETTING VALUE ...]]",
    )
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", prog="prefix-rft recipes", help="one of the above"
    )
    show, copy, model = (actions.add_parser(name, allow_abbrev=False) for name in ("show", "copy", "model"))
    for action in (show, copy, model):
        action.add_argument("name", help="of a recipe, or its path")
    copy.add_argument("folder", nargs="?", type=Path, default=Path(), help="or the name of a new file (.)")
    arguments, flags = parser.parse_known_args(argv)
    if flags and arguments.action != "model":
        raise UserError(f"unknown: {' '.join(flags)}. See `prefix-rft recipes --help`.")
    match arguments.action:
        case None:
            print_list()
        case "show":
            show_recipe(recipe_path(arguments.name))
        case "copy":
            print(copy_recipes(arguments.name, arguments.folder))
        case "model":
            print(make_model(arguments.name, flags))
    return 0


def purpose(recipe: Path) -> str:
    """The first sentence of the comment that a recipe opens with."""
    comment = []
    for line in recipe.read_text(encoding="utf-8").splitlines():
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
    console = Console()  # ends quietly when a pipe is closed, as by `head`
    console.print(table)
    console.print("\n`prefix-rft recipes show NAME` prints one, `prefix-rft train --config NAME` trains it.")


def show_recipe(path: Path) -> None:
    """Prints a recipe, one with a `base` with all settings that it takes."""
    text = readable_text(path)
    print(printable(text), end="")
    if text != path.read_text(encoding="utf-8"):
        print(
            f"\n# All others have their defaults, which a dry run shows:\n# prefix-rft train --config {path} --dry_run"
        )


def copy_recipes(name: str, target: Path) -> Path:
    """Copies a recipe, or a folder of them, into a folder or under a new name; their commands then name the copy."""
    source = find_recipe_file(name)
    if not source.is_dir():
        source = recipe_path(name)
    copy = target if target.suffix in (".yaml", ".yml") and source.is_file() else target / source.name
    if copy.exists():
        raise UserError(f"{copy} exists already and is not overwritten.")
    with as_user_error(ValueError):
        if source.is_file():
            write_atomically(copy, _with_new_name(copy, source, is_alone=True))
            return copy
    with atomic_folder(copy) as partial:
        for file in (path for path in source.rglob("*") if path.is_file()):
            inside = file.relative_to(source)
            (partial / inside).parent.mkdir(parents=True, exist_ok=True)
            (partial / inside).write_text(_with_new_name(copy / inside, file), encoding="utf-8")
    return copy


def _with_new_name(path: Path, original: Path, is_alone: bool = False) -> str:
    """The text of a copy, with the settings of its `base` if that is not copied too."""
    text = readable_text(original) if is_alone else original.read_text(encoding="utf-8")
    if not original.is_relative_to(FOLDER):
        return text
    name = original.relative_to(FOLDER)
    return text.replace(f"recipes/{name}", str(path)).replace(
        f"recipes model {name.with_suffix('')})", f"recipes model {path})"
    )


def make_model(recipe: str, flags: list[str]) -> str:
    """The folder or name of the model that a recipe with flags starts from, made first if it has `model_changes`."""
    from .launch.arguments import is_setting, split_launcher_flags

    first = Recipe.read(["--config", recipe, *flags]).trainings(is_setting)[0]
    split_launcher_flags(first)  # refuses unknown settings
    settings = first.parser.parse_known_args(first.flags)[0]
    model, changes = settings.model_name_or_path, read_dict("model_changes", settings.model_changes)
    if not model:
        raise UserError(f"{recipe} names no model: add `--model_name_or_path NAME`.")
    from prefix_rft_trl.models.changes import starting_model

    with as_user_error(ValueError):
        return starting_model(model, settings.lab_level, changes, settings.model_revision)
