"""Lock the folder of a run for the command that trains it, and for the processes that it launches."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.errors import as_user_error
from prefix_rft_trl.utils.files import exclusive_lock
from prefix_rft_trl.utils.recipe_files import find_recipe_file

from .recipe import DEFAULT_FOLDER_OF_STAGES, Recipe


DEFAULT_FOLDER = "trainer_output"  # transformers'


@contextmanager
def run_lock(recipe: Recipe) -> Iterator[None]:
    """
    Locks the output folder of a recipe while the block runs. Of several machines, which share it, the first one does.

    Raises:
        UserError: if another command is writing there, or the folder cannot be written to.
    """
    default = DEFAULT_FOLDER_OF_STAGES if "stages" in recipe.settings else DEFAULT_FOLDER
    folder = _setting(recipe, "output_dir") or default
    with ExitStack() as stack:
        if isinstance(folder, str) and _is_first_machine(recipe):
            with as_user_error(ValueError):
                stack.enter_context(exclusive_lock(Path(folder).expanduser()))
        yield


def _setting(recipe: Recipe, name: str) -> Any:
    return recipe.flag_values(name)[-1] if recipe.flag_values(name) else recipe.settings.get(name)


def _is_first_machine(recipe: Recipe) -> bool:
    rank = _setting(recipe, "machine_rank")
    config = _setting(recipe, "accelerate_config") or _setting(recipe, "config_file")
    if rank is None and config:
        import yaml

        with suppress(OSError, ValueError, yaml.YAMLError, AttributeError):  # which the launch reports
            rank = yaml.safe_load(find_recipe_file(str(config)).read_text(encoding="utf-8")).get("machine_rank")
    return str(rank or 0) == "0"
