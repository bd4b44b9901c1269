"""How long texts are, in a few numbers and in a histogram."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from prefix_rft_trl.data.prompts import make_prompt
from prefix_rft_trl.method.demonstrations import Message, demonstration_ids

from .findings import Finding, Row
from .texts import numbered, prompt_texts


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Prompt = str | list[Message]


class Measure(Protocol):
    """Lengths of the two parts of a row, in a unit."""

    unit: str

    def prompt(self, prompt: Prompt) -> int: ...

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        """Raises a ValueError if the demonstration has no place after this prompt."""
        ...


MOST_BINS = 12


@dataclass(frozen=True)
class Lengths:
    """Lengths in short.

    Attributes:
        number (`int`): how many texts.
        minimum, median, percentile_95, maximum (`int`): of their lengths.
        bins (`list[tuple[int, int, int]]`): first length, last length and number of texts of each bar.
    """

    number: int
    minimum: int
    median: int
    percentile_95: int
    maximum: int
    bins: list[tuple[int, int, int]]


def summarize(lengths: Sequence[int]) -> Lengths | None:
    """The lengths in short; `None` of no text."""
    if not lengths:
        return None
    values = np.asarray(lengths)
    median, percentile_95 = np.quantile(values, [0.5, 0.95], method="nearest")
    return Lengths(
        len(values), int(values.min()), int(median), int(percentile_95), int(values.max()), histogram(values)
    )


def histogram(values: np.ndarray) -> list[tuple[int, int, int]]:
    """At most 12 bars of equal, round width: first length, last length, number."""
    width = _round_width(int(values.max() - values.min()) + 1)
    first = int(values.min()) // width
    counts = np.bincount(values // width - first)
    return [((first + bar) * width, (first + bar + 1) * width - 1, int(count)) for bar, count in enumerate(counts)]


def _round_width(span: int) -> int:
    power = 1
    while True:
        for step in (1, 2, 5):
            if span / (step * power) <= MOST_BINS - 1:
                return step * power
        power *= 10


@dataclass(frozen=True)
class Budgets:
    """What there is room for, in tokens; `None` where nothing is known.

    Attributes:
        prompt (`int`, *optional*): of a prompt.
        completion (`int`, *optional*): of a completion, and so of a demonstration.
        context (`int`, *optional*): of a prompt and a whole completion together.
    """

    prompt: int | None = None
    completion: int | None = None
    context: int | None = None

    @property
    def of_prompt(self) -> int | None:
        """What is left to a prompt."""
        rest = None if self.context is None else self.context - (self.completion or 0)
        known = [budget for budget in (self.prompt, rest) if budget is not None]
        return min(known, default=None)


class LengthCheck:
    """Measures all rows, and compares them with the budgets.

    Args:
        measure (`Measure`): in characters or in tokens.
        budgets (`Budgets`): in the same unit.
    """

    def __init__(self, measure: Measure, budgets: Budgets) -> None:
        self._measure = measure
        self._budgets = budgets
        self._prompts: list[int] = []
        self._demonstrations: list[int] = []

    def read(self, row: Row) -> Iterator[Finding]:
        if row.prompt is None:
            return
        length = self._measure.prompt(row.prompt)
        self._prompts.append(length)
        room = self._budgets.of_prompt
        if room is not None and length > room:
            yield Finding("prompt_too_long", row.number, f"{length:,} {self._measure.unit}, {room:,} fit")
        for number, message in enumerate(row.demonstrations, 1):
            name = numbered("demonstration", number, len(row.demonstrations))
            try:
                length = self._measure.demonstration(row.prompt, message)
            except ValueError as error:
                yield Finding("no_place_for_thinking", row.number, f"{name}: {error}")
                continue
            self._demonstrations.append(length)
            room = self._budgets.completion
            if room is not None and length > room:
                note = f"{name} has {length:,} {self._measure.unit}, {room:,} fit"
                yield Finding("demonstration_too_long", row.number, note)

    def finish(self) -> Iterator[Finding]:
        return iter(())

    @property
    def lengths(self) -> dict[str, Lengths]:
        """The lengths of prompts and demonstrations in short, of what there is."""
        measured = {"prompts": self._prompts, "demonstrations": self._demonstrations}
        return {name: found for name, values in measured.items() if (found := summarize(values)) is not None}


class Characters:
    """Lengths in characters, where there is no tokenizer."""

    unit = "characters"

    def prompt(self, prompt: Prompt) -> int:
        return sum(map(len, prompt_texts(prompt)))

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        return len(message["content"])


class Tokens:
    """Lengths in tokens, the prompt in the chat template as the trainer writes it.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's. Messages are joined where it has no chat template.
        instruction (`str`, *optional*): text that follows each prompt that is plain text.
        conversational (`bool`): whether plain prompts are made the message of a user.
        template_kwargs (`dict`, *optional*): further arguments of the chat template.
    """

    unit = "tokens"

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        instruction: str | None = None,
        conversational: bool = False,
        template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._instruction = instruction
        self._conversational = conversational
        self._template_kwargs = template_kwargs or {}
        self._has_template = bool(tokenizer.chat_template) or "chat_template" in self._template_kwargs
        self._last: tuple[Any, Prompt, list[int]] = (None, "", [])
        self.joined_messages = False  # whether there were messages and no template for them

    @property
    def special_tokens(self) -> list[str]:
        return list(self._tokenizer.all_special_tokens)

    def prompt(self, prompt: Prompt) -> int:
        return len(self._given(prompt)[1])

    def demonstration(self, prompt: Prompt, message: Message) -> int:
        given, ids = self._given(prompt)
        return len(demonstration_ids(self._tokenizer, given, ids, message, self._stop_ids(), **self._template_kwargs))

    def _stop_ids(self) -> Iterable[int]:
        end = self._tokenizer.eos_token_id
        return () if end is None else (end,)

    def _given(self, prompt: Prompt) -> tuple[Prompt, list[int]]:
        """The prompt as it is trained on, and its ids; those of the last prompt are kept for its demonstrations."""
        if self._last[0] is not prompt:
            given = self._as_trained(prompt)
            self._last = (prompt, given, self._ids(given))
        return self._last[1:]

    def _as_trained(self, prompt: Prompt) -> Prompt:
        if isinstance(prompt, str):
            prompt = make_prompt(prompt, instruction=self._instruction, conversational=self._conversational)
        if isinstance(prompt, str) or self._has_template:
            return prompt
        self.joined_messages = True
        return "\n".join(prompt_texts(prompt))

    def _ids(self, prompt: Prompt) -> list[int]:
        from prefix_rft_trl.sampling.generate import encode_prompts

        return encode_prompts(self._tokenizer, [prompt], self._template_kwargs)[0]
