"""Make the links of the README absolute, as PyPI shows it without the repository. All else is in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from setuptools import setup


ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)(\[[^\[\]]*\])\((?!\w+:|#)([^()\s]+)\)")


def absolute_links(markdown: str, repository: str) -> str:
    """Markdown whose links into a repository on GitHub are addresses; those of pictures are of the raw files."""
    pictures = repository.replace("//github.com/", "//raw.githubusercontent.com/")

    def absolute(link: re.Match[str]) -> str:
        place = f"{pictures}/main" if link[1] else f"{repository}/blob/main"
        return f"{link[1]}{link[2]}({place}/{link[3]})"

    return LINK.sub(absolute, markdown)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=absolute_links((ROOT / "README.md").read_text("utf-8"), project["urls"]["Repository"]),
        long_description_content_type="text/markdown",
    )
