"""Read every row of a training dataset once, and count what a run cannot use.

Forms are read of all rows. Encoding them all would take longer than everything else, so only rows whose text leaves it
open are encoded: a demonstration that may be a single token, that holds the text of a token that ends completions, or
that may start with its answer; a prompt that may be too long; and the first row of each form of messages, since a chat
template accepts or refuses a form.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations, thinking_format
from prefix_rft_trl.rewards.answers import last_statement

from .row_encoder import RowEncoder
from .texts import excerpt, prompt_texts


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

ROWS_OF_STREAM = 1_000  # that are read before training; TRL shuffles a stream within as many
ENCODED_SAMPLE = 64  # demonstrations whose length in tokens is compared with the budget
_BATCH = 1_000
_OPENER = 32  # characters in front of a demonstration that a chat template may take over
_WORD = re.compile(r"\w")


@dataclass
class KindCount:
    """Rows of one kind: how many, the first of them, and what was found there."""

    rows: int
    first: int
    note: str


@dataclass
class RowScan:
    """
    What was found in a dataset.

    Attributes:
        rows (`int`): rows that were read.
        is_complete (`bool`): whether these are all rows, and not the first of a stream.
        counts (`dict[str, KindCount]`): by kind, named as the findings of `prefix-rft data check`.
        lengths (`list[int]`): of a sample of demonstrations, in tokens; 0 for one that fits the budget in any case.
        shortest: row, prompt and message of the shortest demonstration by its characters.
    """

    rows: int = 0
    is_complete: bool = True
    counts: dict[str, KindCount] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    shortest: tuple[int, Any, Message] | None = None

    def add(self, kind: str, row: int, note: str = "") -> None:
        if kind in self.counts:
            self.counts[kind].rows += 1
        else:
            self.counts[kind] = KindCount(1, row, note)

    def number(self, kind: str) -> int:
        return self.counts[kind].rows if kind in self.counts else 0


def scan_rows(
    dataset: "Dataset | IterableDataset",
    demonstration_column: str | None,
    encoder: RowEncoder | None = None,
    *,
    answer_column: str | None = None,
    excludes_answer: bool = False,
    completion_budget: int | None = None,
    prompt_room: int | None = None,
) -> RowScan:
    """Reads all rows, or the first of a stream.

    Args:
        dataset: with the prompts in the column `prompt`.
        demonstration_column (`str`, *optional*): of the demonstrations; `None` for plain GRPO.
        encoder (`RowEncoder`, *optional*): without it the forms alone are read.
        answer_column (`str`, *optional*): of the right answers.
        excludes_answer (`bool`): whether a prefix ends before the demonstration states its answer.
        completion_budget (`int`, *optional*): tokens of a completion.
        prompt_room (`int`, *optional*): tokens that the model has for a prompt.
    """
    columns = ["prompt", demonstration_column, answer_column if excludes_answer else None]
    rows = _Rows(dataset, [name for name in columns if name])
    scanner = _Scanner(encoder, excludes_answer, completion_budget, prompt_room, rows.sampled)
    for row, (prompt, demonstrations, answer) in enumerate(rows.read(*columns)):
        scanner.read(row, prompt, demonstrations, answer, demonstration_column)
    scanner.scan.rows, scanner.scan.is_complete = rows.number, rows.is_complete
    return scanner.scan


class _Rows:
    """The rows of a dataset as tuples, with a progress bar if they take long."""

    def __init__(self, dataset: Any, columns: list[str]) -> None:
        self._streams = not hasattr(dataset, "__len__")
        as_it_is = self._streams or is_transformed(dataset)  # a transform makes columns from others
        self._dataset = dataset if as_it_is else dataset.select_columns([*dict.fromkeys(columns)])
        self.number = 0 if self._streams else len(dataset)
        self.is_complete = True
        expected = ROWS_OF_STREAM if self._streams else self.number
        self.sampled = range(0, expected, -(-expected // ENCODED_SAMPLE) or 1)

    def read(self, *columns: str | None) -> Iterator[tuple[Any, ...]]:
        from tqdm.auto import tqdm

        if self._streams:
            first = list(islice(self._dataset, ROWS_OF_STREAM + 1))
            self.is_complete, first = len(first) <= ROWS_OF_STREAM, first[:ROWS_OF_STREAM]
            self.number = len(first)
            yield from (tuple(row.get(name) if name else None for name in columns) for row in first)
            return
        bar = tqdm(total=self.number, desc="Reading rows", leave=False, delay=2)
        for batch in self._dataset.iter(_BATCH):
            size = len(batch["prompt"])
            yield from zip(*(batch[name] if name else [None] * size for name in columns), strict=True)
            bar.update(size)
        bar.close()


class _Scanner:
    """Looks at one row after the other."""

    def __init__(
        self,
        encoder: RowEncoder | None,
        excludes_answer: bool,
        completion_budget: int | None,
        prompt_room: int | None,
        sampled: Iterable[int],
    ) -> None:
        self.scan = RowScan()
        self._encoder = encoder
        self._excludes_answer = excludes_answer
        self._completion_budget = completion_budget
        self._prompt_room = prompt_room
        self._sampled = set(sampled)
        self._faults_of_forms: dict[Any, tuple[str, str] | None] = {}
        self._added: dict[Any, int] = {}
        if encoder is not None:
            self._stops = re.compile("|".join(map(re.escape, encoder.stop_texts)) or r"(?!)")
            self._single = encoder.most_characters

    def read(self, row: int, prompt: Any, demonstrations: Any, answer: Any, column: str | None) -> None:
        try:
            self._read(row, prompt, demonstrations, answer, column)
        except ValueError as error:  # of a chat template that refuses one row for its text
            self.scan.add("prompt_refused", row, str(error))

    def _read(self, row: int, prompt: Any, demonstrations: Any, answer: Any, column: str | None) -> None:
        if fault := prompt_fault(prompt):
            return self.scan.add("prompt_unusable", row, fault)
        try:
            found = [] if demonstrations is None else parse_demonstrations(demonstrations, row, str(column))
        except ValueError as error:
            return self.scan.add("demonstration_unusable", row, str(error))
        if self._encoder is not None and (fault_of_form := self._fault_of_form(prompt, found)):
            kind, reason = fault_of_form
            return self.scan.add(kind, row, reason)
        if self._encoder is not None and self._prompt_room is not None:
            self._check_prompt_fits(row, prompt, found, answer)
        if column is None:
            return None
        if not found:
            return self.scan.add("no_demonstration", row)
        return self._read_demonstrations(row, prompt, found, answer)

    def _read_demonstrations(self, row: int, prompt: Any, found: list[Message], answer: Any) -> None:
        if repeats_prompt(prompt, found):
            self.scan.add("demonstration_is_prompt", row)
        shortest = min(found, key=lambda message: len(message["content"]))
        if self.scan.shortest is None or len(shortest["content"]) < len(self.scan.shortest[2]["content"]):
            self.scan.shortest = (row, prompt, shortest)
        if self._encoder is None:
            return
        if any(self._is_doubtful(message["content"], answer) for message in found):
            encoded = [self._encoder.demonstration(prompt, message) for message in found]
            if any(is_cut for _, is_cut in encoded):
                self.scan.add("demonstration_cut", row)
            if not any(self._encoder.longest_prefix(ids, answer) for ids, _ in encoded):
                self.scan.add("no_prefix", row)
        if row in self._sampled and self._completion_budget is not None:
            fits = len(found[0]["content"].encode()) < self._completion_budget
            self.scan.lengths.append(0 if fits else len(self._encoder.demonstration(prompt, found[0])[0]))

    def _is_doubtful(self, text: str, answer: Any) -> bool:
        if self._single is None or len(text) <= self._single or self._stops.search(text):
            return True
        if not self._excludes_answer:
            return False
        start = last_statement(text, answer)
        return start is not None and start <= self._single + _OPENER

    def _fault_of_form(self, prompt: Any, found: list[Message]) -> tuple[str, str] | None:
        """Kind and reason of what the chat template does not take: the same for all rows of a form."""
        if self._single is None or (isinstance(prompt, str) and not _WORD.search(prompt)):  # may have no token
            return self._fault_of_tokens(prompt, found)
        form = (prompt_form(prompt), *map(thinking_format, found))
        if form not in self._faults_of_forms:
            self._faults_of_forms[form] = self._fault_of_tokens(prompt, found)
        return self._faults_of_forms[form]

    def _fault_of_tokens(self, prompt: Any, found: list[Message]) -> tuple[str, str] | None:
        assert self._encoder is not None
        try:
            self._encoder.prompt_ids(prompt)
        except ValueError as error:
            return "prompt_refused", str(error)
        try:
            for message in found:
                self._encoder.demonstration(prompt, message)
        except ValueError as error:
            return "no_place_for_thinking", str(error)
        return None

    def _check_prompt_fits(self, row: int, prompt: Any, found: list[Message], answer: Any) -> None:
        """With the longest hint, if demonstrations become hints."""
        assert self._encoder is not None
        assert self._prompt_room is not None
        room, template = self._prompt_room, self._encoder.hint_template
        form, texts = prompt_form(prompt), prompt_texts(prompt)
        if form not in self._added:  # tokens of the template, and some that a tokenizer may add to a text
            self._added[form] = len(self._encoder.prompt_ids(prompt)) + 8
        if template is not None:
            texts = [*texts, template, *(message["content"] for message in found)]
        room_for_texts = room - self._added[form]
        if 4 * sum(map(len, texts)) <= room_for_texts:  # a character has at most 4 bytes, and a token at least one
            return
        if sum(len(text.encode()) for text in texts) <= room_for_texts:
            return
        lengths = {"prompt": len(self._encoder.prompt_ids(prompt))}
        if template is not None and found:
            lengths["hint"] = max(len(self._encoder.longest_hinted(prompt, message, answer)) for message in found)
        for kind, length in lengths.items():
            if length >= room + (self._completion_budget or 0):
                self.scan.add(f"{kind}_beyond_model", row, f"{length:,} tokens")
            elif length > room:
                self.scan.add(f"{kind}_too_long", row, f"{length:,} tokens, {room:,} fit")


def is_transformed(dataset: Any) -> bool:
    """Whether a dataset makes its rows, when they are read, by a function (`with_transform`)."""
    return getattr(dataset, "format", {}).get("type") == "custom"


def prompt_fault(prompt: Any) -> str | None:
    """The reason why a prompt cannot be trained on; `None` if it can."""
    if isinstance(prompt, str):
        return None if prompt.strip() else "empty text"
    if not isinstance(prompt, list):
        return "nothing" if prompt is None else f"{type(prompt).__name__}: {excerpt(str(prompt))}"
    if not prompt:
        return "empty list of messages"
    for message in prompt:
        if not (isinstance(message, dict) and isinstance(message.get("role"), str)):
            return f"no message with a role: {excerpt(str(message))}"
        calls_tools = message.get("content") is None and message.get("tool_calls")
        if not (calls_tools or isinstance(message.get("content"), (str, list))):
            return f"message of the {message['role']} whose content is {type(message.get('content')).__name__}"
    return None if any(text.strip() for text in prompt_texts(prompt)) else "messages without text"


def prompt_form(prompt: Any) -> Any:
    """What chat templates decide by: roles, filled keys, and whether contents are text or parts."""
    if isinstance(prompt, str):
        return str
    return tuple(
        (message["role"], type(message.get("content")), *(key for key, value in message.items() if value is not None))
        for message in prompt
    )


def repeats_prompt(prompt: Any, found: list[Message]) -> bool:
    """Whether a demonstration is nothing but the problem again."""
    problem = prompt_texts(prompt)[-1]
    return any(len(message["content"]) == len(problem) and message["content"] == problem for message in found)
