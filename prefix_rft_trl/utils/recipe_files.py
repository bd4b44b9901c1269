"""The files of `recipes/`, which come with the package: without a checkout, too, found by their path in one."""

from pathlib import Path


FOLDER = Path(__file__).parents[1] / "recipes"
NOT_OF_TRAINING = {"accelerate", "deepspeed", "slurm", "templates"}


def find_recipe_file(path: str | Path) -> Path:
    """
    A file or folder of recipes: the path itself if it is there, with or without `.yaml`, or else one that comes with
    the package.

    Args:
        path (`str` or `Path`): such as `mine.yaml`, `recipes/lab/sft.yaml`, `lab/sft` or `recipes/lab`.

    Returns:
        `Path`: where it is; the path as it was given if it is nowhere.
    """
    path = Path(path)
    if path.exists() or path.is_absolute():
        return path
    in_package = FOLDER.joinpath(*path.parts[1:] if path.parts[:1] == ("recipes",) else path.parts)
    candidates = (_yaml(path), in_package, _yaml(in_package))
    return next((found for found in candidates if found != FOLDER and found.exists()), path)


def recipe_names() -> list[str]:
    """The recipes of trainings in the package, as `lab/prefix_rft`."""
    found = [path.relative_to(FOLDER).with_suffix("") for path in FOLDER.glob("*/*.yaml")]
    return sorted(str(name) for name in found if name.parts[0] not in NOT_OF_TRAINING and name.name != "comparison")


def _yaml(path: Path) -> Path:
    return path.with_name(f"{path.name}.yaml")
