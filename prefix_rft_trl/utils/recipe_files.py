"""Find the recipes that come with the package, by the path that they have in a checkout."""

from pathlib import Path


FOLDER = Path(__file__).parents[1] / "recipes"
NOT_RECIPES = {"accelerate", "deepspeed", "slurm", "templates"}


def find_recipe_file(path: str | Path) -> Path:
    """
    A file or folder of recipes: the path itself if it exists, with or without `.yaml`, or else that of the package.

    A folder without any recipe, such as that of a run, hides none of the package.

    Args:
        path (`str` or `Path`): such as `mine.yaml`, `recipes/lab/sft.yaml`, `lab/sft` or `recipes/lab`.

    Returns:
        `Path`: the file or folder; the path as it was given if there is none.
    """
    path = Path(path)
    if path.is_file() or path.is_absolute() or next(path.glob("*.yaml"), None):
        return path
    in_package = FOLDER.joinpath(*path.parts[1:] if path.parts[:1] == ("recipes",) else path.parts)
    candidates = (_yaml(path), in_package, _yaml(in_package))
    return next((found for found in candidates if found != FOLDER and found.exists()), path)


def recipe_names() -> list[str]:
    """Names of the recipes in the package, such as `lab/prefix_rft`."""
    found = [path.relative_to(FOLDER).with_suffix("") for path in FOLDER.glob("*/*.yaml")]
    return sorted(str(name) for name in found if name.parts[0] not in NOT_RECIPES and name.name != "comparison")


def _yaml(path: Path) -> Path:
    return path.with_name(f"{path.name}.yaml")
