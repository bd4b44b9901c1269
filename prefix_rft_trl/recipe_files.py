"""The files of `recipes/`, which come with the package: without a checkout, too, found by their path in one."""

from pathlib import Path


FOLDER = Path(__file__).parent / "recipes"


def find_recipe_file(path: str | Path) -> Path:
    """
    A file or folder of recipes: the path itself if it is there, or else one that comes with the package.

    Args:
        path (`str` or `Path`): such as `mine.yaml`, `recipes/lab/sft.yaml`, `lab/sft` or `recipes/lab`.

    Returns:
        `Path`: where it is; the path as it was given if it is nowhere.
    """
    path = Path(path)
    if path.exists() or path.is_absolute():
        return path
    in_package = FOLDER.joinpath(*path.parts[1:] if path.parts[:1] == ("recipes",) else path.parts)
    candidates = (in_package, in_package.with_name(f"{in_package.name}.yaml"))
    return next((found for found in candidates if found != FOLDER and found.exists()), path)
