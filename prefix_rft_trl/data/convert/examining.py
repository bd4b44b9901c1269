"""From rows of a source to what can be kept of them: the prompt, and the demonstrations that fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.prompts import prompt_of

from .draws import text_key
from .lengths import as_sampled, token_counts
from .options import Settings
from .rows import Message, Problem, Unusable
from .sources.reading import Reader, Row
from .thinking import with_thinking


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXAMPLE_CHARACTERS = 80


@dataclass(frozen=True)
class Usable:
    """What a row gives.

    Attributes:
        key (`int`): stands for the problem, whatever is put around it.
        prompt, demonstrations, solution: as they will be written.
        fitting (`tuple[int, ...]`): places of the demonstrations that are not too long.
        left_out (`tuple[str, ...]`): why demonstrations of the row are not among them.
        example (`str`): the beginning of the problem, for the report.
    """

    key: int
    prompt: str | list[Message]
    demonstrations: tuple[str, ...]
    solution: str | tuple[str, ...]
    fitting: tuple[int, ...]
    left_out: tuple[str, ...]
    example: str


@dataclass(frozen=True)
class Dropped:
    reason: str
    example: str


def examine(rows: Sequence[Row], reader: Reader, settings: Settings) -> list[Usable | Dropped]:
    """What becomes of each row: read, put into form, and held against the limits in tokens."""
    outcomes = [_usable(row, reader, settings) for row in rows]
    if settings.tokenizer is None:
        return outcomes
    usable = [outcome for outcome in outcomes if isinstance(outcome, Usable)]
    within = iter(_within_limits(usable, settings.tokenizer, settings))
    return [next(within) if isinstance(outcome, Usable) else outcome for outcome in outcomes]


def _usable(row: Row, reader: Reader, settings: Settings) -> Usable | Dropped:
    try:
        return usable(reader.read(row), settings)
    except Unusable as error:
        return Dropped(str(error), example_of(row[reader.columns[0]]))


def usable(problem: Problem, settings: Settings) -> Usable:
    """A problem in the form that was asked for.

    Raises:
        Unusable: if it has no place in it, or nothing of its demonstrations is left.
    """
    texts = [with_thinking(text, settings.thinking) for text in problem.demonstrations]
    kept = tuple(text for text in texts if text.strip())
    if texts and not kept:
        raise Unusable("no demonstration with anything outside its thinking")
    nothing = ("nothing outside its thinking",) * (len(texts) - len(kept))
    return Usable(
        text_key(problem.text),
        prompt_of(problem.prompt, settings.system_prompt, settings.instruction, settings.plain_text),
        kept,
        problem.solution,
        tuple(range(len(kept))),
        problem.left_out + nothing,
        example_of(problem.text),
    )


def example_of(value: Any) -> str:
    """The beginning of a text, or of the last of some messages, on one line."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    line = " ".join(str(value).split())
    return line if len(line) <= EXAMPLE_CHARACTERS else f"{line[:EXAMPLE_CHARACTERS]}..."


def _within_limits(
    items: Sequence[Usable], tokenizer: "PreTrainedTokenizerBase", settings: Settings
) -> list[Usable | Dropped]:
    of_prompts = token_counts(tokenizer, [as_sampled(tokenizer, item.prompt) for item in items])
    of_demonstrations = iter(token_counts(tokenizer, [text for item in items for text in item.demonstrations]))
    limit = f"longer than {settings.max_demonstration_tokens} tokens"
    outcomes: list[Usable | Dropped] = []
    for item, prompt_tokens in zip(items, of_prompts, strict=True):
        lengths = [next(of_demonstrations) for _ in item.demonstrations]
        fitting = tuple(place for place, tokens in enumerate(lengths) if tokens <= settings.max_demonstration_tokens)
        if prompt_tokens > settings.max_prompt_tokens:
            outcomes.append(Dropped(f"a prompt longer than {settings.max_prompt_tokens} tokens", item.example))
        elif lengths and not fitting:
            outcomes.append(Dropped(f"every demonstration {limit}", item.example))
        else:
            too_long = (limit,) * (len(lengths) - len(fitting))
            outcomes.append(replace(item, fitting=fitting, left_out=item.left_out + too_long))
    return outcomes
