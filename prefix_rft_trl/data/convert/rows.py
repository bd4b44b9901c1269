"""A problem as a source has it: the one form that all that comes after the sources knows."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Features


Message = dict[str, str]


@dataclass(frozen=True)
class Problem:
    """A problem with its demonstrations, before any instruction.

    Attributes:
        prompt (`str` or `list[dict]`): its text, or messages that end with a user's.
        demonstrations (`tuple[str, ...]`): worked solutions, thinking included.
        solution (`str` or `tuple[str, ...]`): the answer for the reward, or several acceptable ones.
        left_out (`tuple[str, ...]`): for each demonstration of the row that is not among them, why.
    """

    prompt: str | list[Message]
    demonstrations: tuple[str, ...]
    solution: str | tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of the prompt in one string, by which problems are told apart and drawn."""
        if isinstance(self.prompt, str):
            return self.prompt.strip()
        return "\n\n".join(message["content"].strip() for message in self.prompt)


class Unusable(ValueError):
    """A row that gives no problem. The message is the reason, worded alike for all such rows, since it is counted."""


@dataclass(frozen=True)
class Form:
    """What all rows of a file have in common.

    Attributes:
        plain_text (`bool`): whether prompts and completions are text instead of messages.
        several_demonstrations (`bool`): whether a completion is a list of demonstrations, since a row has several.
        several_answers (`bool`): whether a solution is a list of acceptable answers, since a row has several.
    """

    plain_text: bool
    several_demonstrations: bool
    several_answers: bool


def record(
    prompt: str | list[Message], demonstrations: list[str], solution: str | tuple[str, ...], form: Form
) -> dict[str, Any]:
    """A row. One without a demonstration has an empty one: readers that infer types from the first rows, and TRL's
    test for messages, need it in its place.
    """
    completions = [_completion(text, form.plain_text) for text in demonstrations or [""]]
    answers = [solution] if isinstance(solution, str) else list(solution)
    return {
        "prompt": prompt,
        "completion": completions if form.several_demonstrations else completions[0],
        "solution": answers if form.several_answers else answers[0],
    }


def _completion(text: str, plain_text: bool) -> Any:
    return text if plain_text else [{"role": "assistant", "content": text}]


def features_of(form: Form) -> "Features":
    """The types of the columns."""
    from datasets import Features, List, Value

    text = Value("string")
    of_text: Any = text if form.plain_text else List({"role": text, "content": text})
    return Features(
        prompt=of_text,
        completion=List(of_text) if form.several_demonstrations else of_text,
        solution=List(text) if form.several_answers else text,
    )


_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def solution_of(value: Any) -> str | tuple[str, ...]:
    """The answer as text, or several acceptable ones where the row has a list of more than one.

    Raises:
        Unusable: if there is none.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    found = tuple(dict.fromkeys(text for text in map(_text, values) if text))
    if not found:
        raise Unusable("no answer")
    return found[0] if len(found) == 1 else found


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with a gap is read as floats
    return str(value).strip()


def without_separators(answer: str) -> str:
    """`1,234` as `1234`; anything else than a plain number with separators of thousands as it is."""
    return answer.replace(",", "") if _GROUPED.fullmatch(answer) else answer


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
