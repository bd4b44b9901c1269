"""Put untrusted text into Markdown: nothing in it links, embeds, formats or ends what it stands in."""

import re

from .printable import printable


_CODE = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"[\\`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|^(?:[#>+-](?=[#>]*\s)|\d+(?=[.)]\s))")


def plain_markdown(text: str) -> str:
    """The text in one line, with all markup escaped but code in backticks."""
    parts = _CODE.split(" ".join(printable(text).splitlines()))
    return "".join(part if place % 2 else _MARKUP.sub(_escaped, part) for place, part in enumerate(parts))


def _escaped(found: re.Match[str]) -> str:
    return f"{found.group()}\\" if found.group().isdigit() else f"\\{found.group()}"


def fenced(text: str, language: str) -> str:
    """The text as a block of code, whatever backticks it has."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{printable(text)}\n{fence}"


def code(text: str) -> str:
    """The text in one line, as code in backticks, which in it become apostrophes."""
    return "`" + " ".join(printable(text).splitlines()).replace("`", "'") + "`"
