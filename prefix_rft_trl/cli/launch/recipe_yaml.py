"""Read the YAML of a recipe, with a sentence for all that can be wrong in the file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.renamed import current_settings


MERGE_TAG = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: naming the file and the line, if it is not UTF-8, not one YAML document, not a mapping from names to
            values, or has a name twice.
    """
    text = _decoded(path)
    try:
        document = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2024-13-45
        raise UserError(f"the recipe {str(path)!r} is not YAML: {_explain(error, text)}") from error
    if document is None:
        raise UserError(f"the recipe {str(path)!r} is empty: it is a mapping from settings to values.")
    if not isinstance(content, dict):
        raise UserError(f"the recipe {str(path)!r} is not a mapping from settings to values, found {content!r:.80}.")
    for name, first, second in _repetitions(document, set()):
        raise UserError(f"the recipe {str(path)!r} sets '{name}' twice, in lines {first} and {second}. Remove one.")
    _check_names(content, f"the recipe {str(path)!r}")
    return current_settings(content)


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the recipe {str(path)!r} cannot be read: {error.strerror}.") from error
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"the recipe {str(path)!r} is not UTF-8: line {line} has the byte {content[error.start]:#04x}. Save it as "
            "UTF-8."
        ) from error


def _explain(error: Exception, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f"{str(error).splitlines()[0]}."
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    problem = getattr(error, "problem", None) or str(error)
    if "found another document" in problem or "a single document" in problem:
        return f"line {mark.line + 1} begins another document, and a recipe is one. Make two files."
    hint = " Indent by spaces." if "\t" in line[: len(line) - len(line.lstrip())] else ""
    return f"{problem} in line {mark.line + 1}, column {mark.column + 1}: {line.strip()!r:.80}.{hint}"


def _repetitions(node: yaml.Node, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Names that stand twice in a mapping, with both lines. Values of anchors are looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repetitions(item, seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE_TAG:
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    yield key.value, lines[name], line
                lines[name] = line
            yield from _repetitions(value, seen)


def _check_names(content: dict[Any, Any], where: str) -> None:
    stages = content.get("stages")
    inner = [stages, *stages.values()] if isinstance(stages, dict) else []
    for mapping in (content, *inner):
        for name, value in mapping.items() if isinstance(mapping, dict) else ():
            if not isinstance(name, str):
                found = yaml.safe_dump(name).split()[0]
                raise UserError(
                    f"{where} has the name {found} (with the value {value!r:.40}), but names of settings and stages "
                    "are text. Correct it, or put it in quotes."
                )
