"""Check the columns of a source, and read values that may be text, numbers or messages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.data.convert.rows import Message, SourceProblem, Unusable
from prefix_rft_trl.method.demonstrations import REASONING_KEYS, parse_demonstrations


SourceRow = dict[str, Any]

_ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True)
class Reader:
    """Reads the rows of a source.

    Attributes:
        columns (`list[str]`): the columns that it needs, all of which the dataset has.
        read (`Callable`): makes a problem from a row with those columns; raises `Unusable` for a row without one.
    """

    columns: list[str]
    read: Callable[[SourceRow], SourceProblem]


def check_columns(source: str, needed: Sequence[str], found: Sequence[str], hint: str = "") -> list[str]:
    """The needed columns, each once; raises a ValueError that lists those that are missing and those that exist."""
    missing = [name for name in needed if name not in found]
    if missing:
        names = f"the column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
        raise ValueError(
            f"`{source}` needs {names}, which the dataset does not have; it has: {', '.join(found)}.{hint}"
        )
    return list(dict.fromkeys(needed))


def read_text(value: Any, name: str) -> str:
    """A text, stripped.

    Raises:
        Unusable: if it is empty or not text.
    """
    if value is not None and not isinstance(value, str):
        raise Unusable(f"{name} that is not text")
    text = (value or "").strip()
    if not text:
        raise Unusable(f"no {name}")
    return text


def read_prompt(value: Any) -> str | list[Message]:
    """A prompt as it is: text, or messages that end with a user message.

    Raises:
        Unusable: if it is neither.
    """
    if not isinstance(value, list):
        read_text(value, "problem")
        return value
    messages = [_read_message(item) for item in value]
    if not messages or not messages[-1]["content"].strip():
        raise Unusable("no problem")
    if messages[-1]["role"] != "user":
        raise Unusable("a prompt that does not end with a user message")
    return messages


def _read_message(item: Any) -> Message:
    content = item.get("content") if isinstance(item, dict) else None
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or item.get("role") not in _ROLES or item.get("tool_calls"):
        raise Unusable("a prompt that is neither text nor messages of text")
    return {"role": item["role"], "content": content}


def read_demonstrations(value: Any) -> tuple[str, ...]:
    """The demonstrations of a row, as text.

    Raises:
        Unusable: unless it is text, one assistant message, or a list of either.
    """
    try:
        messages = parse_demonstrations(value)
    except ValueError as error:
        raise Unusable("a demonstration that is neither text nor one assistant message") from error
    return tuple(map(_with_reasoning, messages))


def _with_reasoning(message: dict[str, Any]) -> str:
    """The content, after the thinking that some datasets store under a key of its own."""
    content = message["content"]
    reasoning = next((message[key] for key in REASONING_KEYS if isinstance(message.get(key), str)), "").strip()
    return content if not reasoning or "</think>" in content else f"<think>\n{reasoning}\n</think>\n\n{content}"


def read_solution(value: Any) -> str | tuple[str, ...]:
    """The answer as text, or several acceptable ones where the row lists more than one.

    Raises:
        Unusable: if there is none.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    answers = tuple(dict.fromkeys(text for text in map(_answer_text, values) if text))
    if not answers:
        raise Unusable("no answer")
    return answers[0] if len(answers) == 1 else answers


def _answer_text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of integers with a gap is read as floats
    return str(value).strip()
