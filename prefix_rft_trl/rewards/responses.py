"""What a reward function is given of a response."""

from typing import Any

from .answers import MARKERS, find_final_answer


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """The text of a completion: itself, or the content of its last message, text or parts."""
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else None
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def stated_answer(completion: str | list[dict[str, Any]], markers: tuple[str, ...] = MARKERS) -> str | None:
    """The final answer of a completion, as [`find_final_answer`] finds it."""
    final = find_final_answer(text_of(completion), markers)
    return None if final is None else final.text
