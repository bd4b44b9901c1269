"""Files and folders of the repository that pages link to, as pages of the site.

The pages are read in the repository too, so they link to `../prefix_rft_trl/x.py`. Here such a link leads to a page
with the file's source, or with what a folder holds. Paths are relative to the root of the repository.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from notebook_pages import fenced


CODE = r"(?P<code>^(?P<fence>`{3,}).*?^(?P=fence)`*$|`[^`\n]+`)"
CODE_OR_LINK = re.compile(CODE + r"|(?<=\]\()(?P<target>[^()\s#]+)", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml", ".slurm": "bash", ".ipynb": "json"}
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
DOCS, NOTEBOOKS, OTHERS = "docs/", "notebooks/", "files/"


def uri(path: str, root: Path) -> str:
    """The source of the page that shows a file or folder."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    if path.startswith(NOTEBOOKS) and path.endswith(".ipynb"):
        return path.removesuffix(".ipynb") + ".md"
    return other_uri(path, root)


def other_uri(path: str, root: Path) -> str:
    if (root / path).is_dir():
        return f"{OTHERS}{path}/index.md"
    return f"{OTHERS}{path}" if path.endswith(".md") else f"{OTHERS}{path}.md"


def folder_of(page: str) -> str:
    """The folder of the repository that the links of a page start from."""
    if page.startswith(OTHERS):
        return posixpath.dirname(page.removeprefix(OTHERS))
    return posixpath.dirname(page if page.startswith(NOTEBOOKS) else DOCS + page)


def linked_path(target: str, folder: str, root: Path) -> str | None:
    """What a link leads to, if that is a file or folder of the repository."""
    if ":" in target or target.startswith("/"):
        return None
    path = (root / folder / target).resolve()
    return path.relative_to(root).as_posix() if path.exists() and path.is_relative_to(root) else None


def with_links_to_pages(markdown: str, page: str, root: Path, pages: set[str]) -> str:
    """The text of a page, whose links to files of the repository lead to their pages."""

    def rewritten(found: re.Match[str]) -> str:
        if found["code"]:
            return found[0]
        path = linked_path(found["target"], folder_of(page), root)
        if path is None:
            return found[0]
        shown_by = next((name for name in (uri(path, root), other_uri(path, root)) if name in pages), None)
        return posixpath.relpath(shown_by, posixpath.dirname(page) or ".") if shown_by else found[0]

    return CODE_OR_LINK.sub(rewritten, markdown)


def pages_of_repository(texts: dict[str, str], root: Path, pages: set[str]) -> dict[str, str]:
    """The pages that the site lacks, by their source, for all that its own link to, and for what those link to.

    Args:
        texts (`dict[str, str]`): Markdown of the site's own pages, by their source.
        root (`Path`): of the repository.
        pages (`set[str]`): what the site has already, pictures and the like included.
    """
    made: dict[str, str] = {}
    waiting = list(texts.items())
    while waiting:
        page, text = waiting.pop()
        for path in linked_paths(text, folder_of(page), root):
            name = other_uri(path, root)
            if uri(path, root) in pages or name in made:
                continue
            content = page_of(path, root)
            if content is not None:
                made[name] = content
                waiting.append((name, content))
    return made


def linked_paths(text: str, folder: str, root: Path) -> Iterator[str]:
    for found in CODE_OR_LINK.finditer(text):
        path = found["target"] and linked_path(found["target"], folder, root)
        if path:
            yield path


def page_of(path: str, root: Path) -> str | None:
    """The source of a file, or what a folder holds, as Markdown; `None` for what is no text."""
    place = root / path
    if place.is_dir():
        return f"{UNSEARCHED}# {path}\n\n" + "\n".join(entry(child) for child in children(place)) + "\n"
    try:
        text = place.read_text()
    except UnicodeDecodeError:
        return None
    if place.suffix == ".md":
        return UNSEARCHED + text
    return f"{UNSEARCHED}# {path}\n\n{fenced(text, LANGUAGES.get(place.suffix, 'text'))}\n"


def children(folder: Path) -> list[Path]:
    ignored = ("__pycache__", ".")
    shown = [child for child in folder.iterdir() if not child.name.startswith(ignored) and not child.is_symlink()]
    return sorted(shown, key=lambda child: (child.is_file(), child.name))


def entry(child: Path) -> str:
    return f"- [{child.name}{os.sep if child.is_dir() else ''}]({child.name})"
