"""What every source needs: its columns checked, and values that may be messages read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.data.convert.rows import Message, Problem, Unusable
from prefix_rft_trl.method.demonstrations import REASONING_KEYS, parse_demonstrations


Row = dict[str, Any]

_ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True)
class Reader:
    """How a source is read.

    Attributes:
        columns (`list[str]`): the columns that are needed of the dataset, all of which it has.
        read (`Callable`): from a row, with those columns, to its problem. Raises `Unusable` where there is none.
    """

    columns: list[str]
    read: Callable[[Row], Problem]


def check_columns(source: str, needed: Sequence[str], found: Sequence[str], mend: str = "") -> None:
    """Raises a ValueError that names the columns that are missing and those that are there."""
    missing = [name for name in needed if name not in found]
    if missing:
        raise ValueError(
            f"`{source}` needs {_columns(missing)}, which the dataset does not have; it has: {', '.join(found)}.{mend}"
        )


def _columns(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"


def value_at(row: Row, path: str) -> Any:
    """The value of a column; `reward_model.ground_truth` is what `reward_model` holds under `ground_truth`."""
    if path in row:
        return row[path]
    name, *keys = path.split(".")
    value = row[name]
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def column_of(path: str, found: Sequence[str]) -> str:
    """The column that holds what a path names."""
    return path if path in found else path.split(".")[0]


def text_of(value: Any, what: str) -> str:
    """A text without white space around it.

    Raises:
        Unusable: if it is empty or no text.
    """
    if value is not None and not isinstance(value, str):
        raise Unusable(f"{what} that is no text")
    text = (value or "").strip()
    if not text:
        raise Unusable(f"no {what}")
    return text


def prompt_at(value: Any) -> str | list[Message]:
    """A prompt as it is: text, or messages that end with a user's.

    Raises:
        Unusable: if it is neither.
    """
    if not isinstance(value, list):
        text_of(value, "problem")
        return value
    messages = [_message(item) for item in value]
    if not messages or not messages[-1]["content"].strip():
        raise Unusable("no problem")
    if messages[-1]["role"] != "user":
        raise Unusable("a prompt that does not end with a user's message")
    return messages


def _message(item: Any) -> Message:
    content = item.get("content") if isinstance(item, dict) else None
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str) or item.get("role") not in _ROLES or item.get("tool_calls"):
        raise Unusable("a prompt that is neither text nor messages of text")
    return {"role": item["role"], "content": content}


def demonstrations_at(value: Any) -> tuple[str, ...]:
    """The demonstrations of a row, as text.

    Raises:
        Unusable: if it holds something else than text, one assistant message, or a list of either.
    """
    try:
        messages = parse_demonstrations(value)
    except ValueError as error:
        raise Unusable("a demonstration that is neither text nor one assistant message") from error
    return tuple(map(_with_reasoning, messages))


def _with_reasoning(message: dict[str, Any]) -> str:
    """The content, after the thinking that some datasets keep under a key of its own."""
    content = message["content"]
    reasoning = next((message[key] for key in REASONING_KEYS if isinstance(message.get(key), str)), "").strip()
    return content if not reasoning or "</think>" in content else f"<think>\n{reasoning}\n</think>\n\n{content}"
