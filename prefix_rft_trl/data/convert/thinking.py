"""Keep, strip or rename the thinking block of a demonstration."""

import re


KEEP, STRIP = "keep", "strip"

_OPENER, _CLOSER = "<think>", "</think>"
_TAG = re.compile(r"[A-Za-z_][\w.-]*")


def check_thinking(thinking: str) -> None:
    """Raises a ValueError unless it is `keep`, `strip` or a tag name."""
    if not _TAG.fullmatch(thinking):
        raise ValueError(f"`thinking` must be {KEEP}, {STRIP} or a tag name without brackets, found {thinking!r}.")


def convert_thinking(text: str, thinking: str) -> str:
    """A demonstration with its thinking block converted.

    Args:
        text (`str`): a demonstration, its thinking between `<think>` and `</think>`.
        thinking (`str`): `keep`, `strip`, or another tag: `reasoning` writes `<reasoning>` and `</reasoning>`.

    Returns:
        `str`: empty if the block is stripped and nothing is left, as where it never closes.
    """
    if thinking == KEEP or not (_OPENER in text or _CLOSER in text):
        return text
    if thinking == STRIP:
        return _without_blocks(text)
    return text.replace(_OPENER, f"<{thinking}>").replace(_CLOSER, f"</{thinking}>")


def _without_blocks(text: str) -> str:
    """The rest of a text; a template may have opened a block before it, and the last block may not be closed."""
    *closed, rest = text.split(_CLOSER)
    kept: list[str] = []
    for part in closed:
        before, opener, _ = part.partition(_OPENER)
        if opener:
            kept.append(before)
        else:
            kept.clear()
    return ("".join(kept) + rest).partition(_OPENER)[0].strip()
