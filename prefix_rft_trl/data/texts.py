"""Texts of a prompt in any form, and excerpts for the report."""

from typing import Any

from prefix_rft_trl.rewards.answers import message_text


def prompt_texts(prompt: str | list[dict[str, Any]]) -> list[str]:
    """The text itself, or the texts of all messages."""
    return [prompt] if isinstance(prompt, str) else [message_text(message) for message in prompt]


def problem_text(prompt: str | list[dict[str, Any]]) -> str:
    """The problem: the text, or the user's messages."""
    if isinstance(prompt, str):
        return prompt
    user_messages = [message_text(message) for message in prompt if message["role"] == "user"]
    return "\n".join(user_messages or prompt_texts(prompt))


def excerpt(text: str, width: int = 70) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 8 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def last_words(text: str, width: int = 60) -> str:
    """The end of a text, on one line."""
    line = " ".join(text[-8 * width :].split())
    return line if len(line) <= width else f"…{line[1 - width :]}"


def in_context(text: str, start: int, end: int, width: int = 25) -> str:
    """A part of a text with its surroundings, on one line."""
    before, after = text[max(0, start - width) : start], text[end : end + width]
    return excerpt(f"{'…' if start > width else ''}{before}{text[start:end]}{after}", 4 * width)
