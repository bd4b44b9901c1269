"""The first reading of a dataset: which rows and demonstrations are kept, without holding their texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.prompts import make_prompt

from .corruption import Damaged, Key, Purpose, damage, generator, text_key
from .options import Settings
from .rows import Message, Problem, Unusable, with_thinking
from .sources.reading import Reader, Row


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


@dataclass
class Count:
    number: int
    row: int
    example: str


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


@dataclass
class Tally:
    """Reasons and how often each was met, with the first row of each.

    Attributes:
        dropped: reasons why rows were dropped.
        left_out: reasons why demonstrations of rows that were kept were left out.
        noted: what is worth knowing of rows that were kept.
    """

    dropped: dict[str, Count] = field(default_factory=dict)
    left_out: dict[str, Count] = field(default_factory=dict)
    noted: dict[str, Count] = field(default_factory=dict)


ROWS_AT_A_TIME = 500


@dataclass(frozen=True)
class Kept:
    """A row that is kept.

    Attributes:
        row (`int`): its number in the source.
        key (`int`): stands for its problem.
        places (`tuple[int, ...]`): the demonstrations that are kept, by their places among those of the row.
        slips (`tuple`): for each of them its wrong answer, `None` if it has none to give; all are `None` if nothing
            is to be damaged.
        solution (`str` or `tuple[str, ...]`): its answer.
        example (`str`): the beginning of the problem.
    """

    row: int
    key: int
    places: tuple[int, ...]
    slips: tuple["Slip | None", ...]
    solution: str | tuple[str, ...]
    example: str


@dataclass(frozen=True)
class Slip:
    """A wrong answer, and whether its text alone tells that it is wrong."""

    answer: str
    certain: bool


@dataclass
class Plan:
    """What was found.

    Attributes:
        kept (`list[Kept]`): rows that are kept, in the order of the source.
        tally (`Tally`): the others, by reason.
        rows_read (`int`): rows up to where reading stopped.
    """

    kept: list[Kept] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    rows_read: int = 0


def make_plan(dataset: "Dataset", reader: Reader, settings: Settings) -> Plan:
    """Reads all rows, or as many as it takes to keep `max_rows`, with a bar of progress."""
    plan, seen = Plan(), _Seen()
    for row, outcome in _outcomes(dataset, reader, settings):
        plan.rows_read = row + 1
        if isinstance(outcome, Usable):
            outcome = seen.or_dropped(row, outcome)
        if isinstance(outcome, Dropped):
            count(plan.tally.dropped, outcome.reason, row, outcome.example)
            continue
        for reason in outcome.left_out:
            count(plan.tally.left_out, reason, row, outcome.example)
        plan.kept.append(_kept(row, outcome, settings))
        if len(plan.kept) == settings.max_rows:
            break
    return plan


def _outcomes(dataset: "Dataset", reader: Reader, settings: Settings) -> Iterator[tuple[int, Usable | Dropped]]:
    for start, rows in row_batches(dataset, "Reading"):
        yield from enumerate(examine(rows, reader, settings), start)


def row_batches(dataset: "Dataset", description: str) -> Iterator[tuple[int, list[Row]]]:
    """The rows, some at a time, with the place of the first of them."""
    from tqdm.auto import tqdm

    with tqdm(total=len(dataset), desc=description, unit=" rows") as bar:
        for start in range(0, len(dataset), ROWS_AT_A_TIME):
            columns: dict[str, list[Any]] = dataset[start : start + ROWS_AT_A_TIME]
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
            yield start, rows
            bar.update(len(rows))


class _Seen:
    """The problems so far, to drop those that come again."""

    def __init__(self) -> None:
        self._first: dict[int, tuple[int, int]] = {}

    def or_dropped(self, row: int, item: Usable) -> Usable | Dropped:
        answer = text_key(str(item.solution))
        if item.key not in self._first:
            self._first[item.key] = (row, answer)
            return item
        first, its_answer = self._first[item.key]
        with_another = "" if answer == its_answer else ", with another answer"
        return Dropped(f"the problem of an earlier row{with_another}", f"as row {first}: {item.example}")


def _kept(row: int, item: Usable, settings: Settings) -> Kept:
    places = item.fitting[: settings.max_demonstrations]
    slips: list[Slip | None] = [None] * len(places)
    if settings.damaged_share:
        damaged = [damaged_at(item, place, settings.seed) for place in places]
        slips = [Slip(found.answer, found.certain) if found else None for found in damaged]
    return Kept(row, item.key, places, tuple(slips), item.solution, item.example)


def damaged_at(item: Usable, place: int, seed: int) -> Damaged | None:
    """The demonstration at a place of a row, with the slip that the seed gives it."""
    golds = (item.solution,) if isinstance(item.solution, str) else item.solution
    key: Key = (item.key, place)
    return damage(item.demonstrations[place], golds, generator(seed, Purpose.DAMAGE, key))


EXAMPLE_CHARACTERS = 80


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
        make_prompt(
            problem.prompt,
            instruction=settings.instruction,
            conversational=not settings.plain_text,
            system_prompt=settings.system_prompt,
        ),
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


NO_WARNING_LENGTH = 10**30


def load_tokenizer(path: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, by name or folder, that counts long texts without a warning."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.model_max_length = NO_WARNING_LENGTH
    return tokenizer


def token_counts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[int]:
    """Number of tokens of each text, without special tokens at its ends."""
    if not texts:
        return []
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def as_sampled(tokenizer: "PreTrainedTokenizerBase", prompt: str | list[Message]) -> str:
    """A prompt as text: messages in the chat template, or one after the other where the tokenizer has none."""
    if isinstance(prompt, str):
        return prompt
    if not tokenizer.chat_template:
        return "\n".join(message["content"] for message in prompt)
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)


def count(counts: dict[str, Count], reason: str, row: int, example: str) -> None:
    """Adds one; the example is kept if it is the first of its reason."""
    if reason in counts:
        counts[reason].number += 1
    else:
        counts[reason] = Count(1, row, example)


def total(counts: dict[str, Count]) -> int:
    return sum(entry.number for entry in counts.values())
