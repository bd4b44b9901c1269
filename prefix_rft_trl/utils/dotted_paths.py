"""Objects that a recipe names by a dotted path, from packages or from files beside the recipe."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


RECIPE_FOLDERS = "PREFIX_RFT_RECIPE_FOLDERS"  # environment variable


def look_beside(recipe: Path) -> None:
    """Has dotted paths looked for in the folder of a recipe too, here and in processes that are started."""
    folders, folder = _recipe_folders(), str(recipe.parent.resolve())
    if folder not in folders:
        os.environ[RECIPE_FOLDERS] = os.pathsep.join([*folders, folder])


def is_dotted_path(name: str) -> bool:
    """Whether a name is of the form `package.module.name`."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


def import_path(path: str, with_own_files: bool = True) -> Any:
    """What a dotted path names.

    Args:
        path (`str`): such as `my_package.rewards.my_reward`.
        with_own_files (`bool`): whether it may be in a file beside a recipe or in the current folder. They come last
            and hide no package.

    Raises:
        ImportError: saying what is wrong: no such module, nothing of that name in it, or a file that fails.
    """
    if with_own_files:
        sys.path += [folder for folder in (*_recipe_folders(), os.getcwd()) if folder not in sys.path]
    module_name, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ImportError(str(error)) from error
    except Exception as error:  # of a file of the user's own
        raise ImportError(f"{type(error).__name__}: {error}") from error


def _recipe_folders() -> list[str]:
    return list(filter(None, os.environ.get(RECIPE_FOLDERS, "").split(os.pathsep)))
