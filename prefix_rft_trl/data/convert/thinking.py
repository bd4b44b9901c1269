"""The thinking block of a demonstration: kept, taken out, or between other tags."""

import re


KEEP, STRIP = "keep", "strip"

_OPENER, _CLOSER = "<think>", "</think>"
_BLOCK = re.compile(rf"{_OPENER}.*?{_CLOSER}", re.DOTALL)
_TAG = re.compile(r"[A-Za-z_][\w.-]*")


def check_thinking(thinking: str) -> None:
    """Raises a ValueError if it is neither `keep`, `strip` nor the name of a tag."""
    if not _TAG.fullmatch(thinking):
        raise ValueError(
            f"`thinking` is {KEEP}, {STRIP}, or the name of a tag without its brackets, found {thinking!r}."
        )


def with_thinking(text: str, thinking: str) -> str:
    """A demonstration whose thinking is dealt with as asked.

    Args:
        text (`str`): a demonstration, its thinking between `<think>` and `</think>`.
        thinking (`str`): `keep`, `strip`, or another tag: `reasoning` writes `<reasoning>` and `</reasoning>`.

    Returns:
        `str`: empty if it is to be stripped and nothing else is there, as where the block never closes.
    """
    if thinking == KEEP or not (_OPENER in text or _CLOSER in text):
        return text
    if thinking == STRIP:
        # A template may have opened the block before the text, and a text may have been cut off inside it
        return _BLOCK.sub("", text).rpartition(_CLOSER)[2].partition(_OPENER)[0].strip()
    return text.replace(_OPENER, f"<{thinking}>").replace(_CLOSER, f"</{thinking}>")
