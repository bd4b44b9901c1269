"""Text for a terminal: what a dataset or a model wrote must not move its cursor, recolour it or type into it."""

import re


# Control characters but for the tab and the end of a line, marks that turn the direction of writing, lone surrogates
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PICTURES = 0x2400  # of the control characters, in their order
_DELETE, _PICTURE_OF_DELETE, _OTHER = "\x7f", "\u2421", "\ufffd"


def printable(text: str) -> str:
    """The text with a visible sign in place of each character that a terminal would obey."""
    return _UNPRINTABLE.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    character = found.group()
    if character == _DELETE:
        return _PICTURE_OF_DELETE
    return chr(_PICTURES + ord(character)) if character < " " else _OTHER
