"""The rows that are written, all of one form, as Parquet asks for and as JSONL is read best."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .rows import Message


if TYPE_CHECKING:
    from datasets import Features


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
