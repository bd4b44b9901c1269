"""Put untrusted text into Markdown: nothing in it links, embeds, formats or ends what it stands in."""

import re

from .printable import printable


_BACKTICKS = re.compile("(`+)")
_MARKUP = re.compile(
    r"[\\`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|#$|"
    r"^(?:[>|]|#(?=#*(?:\s|$))|[+-](?=\s|$)|-(?=[-\s]*$)|=(?==*\s*$)|\d+(?=[.)](?:\s|$)))"
)


def plain_markdown(text: str) -> str:
    """The text in one line, with all markup escaped but code in backticks."""
    pieces = _BACKTICKS.split(" ".join(printable(text).splitlines()).strip())
    ends = _ends_of_code(pieces)
    parts, place = [], 0
    while place < len(pieces):
        end = ends.get(place, place)
        part = "".join(pieces[place : end + 1])
        parts.append(part if end > place else _MARKUP.sub(_escaped, part))
        place = end + 1
    return "".join(parts)


def _ends_of_code(pieces: list[str]) -> dict[int, int]:
    """By the place of each run of backticks, at the odd places, that of the next one of the same length."""
    following: dict[str, int] = {}
    ends = {}
    for place in range(len(pieces) - 2, 0, -2):
        if pieces[place] in following:
            ends[place] = following[pieces[place]]
        following[pieces[place]] = place
    return ends


def _escaped(found: re.Match[str]) -> str:
    if found.group() == "|":
        return "&#124;"  # which stays whole in a cell of a table
    return f"{found.group()}\\" if found.group().isdigit() else f"\\{found.group()}"


def fenced(text: str, language: str) -> str:
    """The text as a block of code, whatever backticks it has."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def code(text: str) -> str:
    """The text in one line, as code in backticks, which in it become apostrophes."""
    return "`" + (" ".join(printable(text).splitlines()).replace("`", "'") or " ") + "`"
