"""Extract usable problems from source rows in one pass, and count what is dropped and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.data.answer_forms import asked_forms, ends_otherwise
from prefix_rft_trl.data.held_out import text_key
from prefix_rft_trl.data.prompts import make_prompt
from prefix_rft_trl.data.texts import excerpt
from prefix_rft_trl.models.templates import render_messages
from prefix_rft_trl.utils.hashing import stable_hash

from .corruption import Corruption, corrupt
from .draws import Purpose, generator
from .options import ConversionOptions
from .rows import Message, Unusable
from .sources.reading import Reader
from .thinking import convert_thinking


if TYPE_CHECKING:
    from datasets import Features
    from transformers import PreTrainedTokenizerBase


@dataclass
class Count:
    """Occurrences of a reason, with the first row that gave it."""

    number: int
    row: int
    example: str


@dataclass
class Tally:
    """Reasons and how often each occurred.

    Attributes:
        rows_read (`int`): rows up to where reading stopped.
        dropped (`dict[str, Count]`): reasons for dropped rows.
        left_out (`dict[str, Count]`): reasons for demonstrations missing from kept rows.
        noted (`dict[str, Count]`): remarks on kept rows.
    """

    rows_read: int = 0
    dropped: dict[str, Count] = field(default_factory=dict)
    left_out: dict[str, Count] = field(default_factory=dict)
    noted: dict[str, Count] = field(default_factory=dict)


@dataclass
class Candidate:
    """A source row on its way into the output.

    Attributes:
        example (`str`): beginning of the problem, for the report.
        dropped (`str`): the reason for dropping the row; empty while it is kept.
        key (`int`): hash of the problem without instruction, which seeds its draws.
        prompt (`str` or `list[dict]`): the prompt as it will be written.
        demonstrations (`dict[int, str]`): by place among the row's demonstrations, which seeds their draws.
        golds (`list[str]`): acceptable answers.
        left_out (`list[str]`): reasons for missing demonstrations.
    """

    example: str
    dropped: str = ""
    key: int = 0
    group: int = 0
    prompt: str | list[Message] = ""
    demonstrations: dict[int, str] = field(default_factory=dict)
    golds: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def extracted_features(plain_text: bool) -> "Features":
    """Column types of [`Extraction`]: of each demonstration its place, text and corruption, in parallel lists."""
    from datasets import Features, List, Value

    text = Value("string")
    return Features(
        row=Value("int64"),
        key=text,  # a number of 64 bits without a sign, which Arrow does not infer
        group=text,  # the same for problems that differ in white space and case alone
        example=text,
        prompt=text if plain_text else List({"role": text, "content": text}),
        golds=List(text),
        places=List(Value("int64")),
        texts=List(text),
        corrupted_texts=List(text),
        wrong_answers=List(text),
        certain=List(Value("bool")),
    )


class Extraction:
    """A batched function for `Dataset.map` that turns source rows into usable problems, fewer than there are rows.

    It drops problems that an earlier row has, in this batch or in one before, so it runs in a single process.

    Args:
        reader (`Reader`): reads the rows of the source.
        options (`ConversionOptions`): form, limits and shares.

    Attributes:
        tally (`Tally`): the rest, by reason.
    """

    def __init__(self, reader: Reader, options: ConversionOptions) -> None:
        self.tally = Tally()
        self._reader = reader
        self._options = options
        self._first: dict[int, tuple[int, list[str]]] = {}

    def __call__(self, batch: Mapping[str, list[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        columns = extracted_features(self._options.plain_text)
        if self._is_full():
            return {name: [] for name in columns}
        kept: list[dict[str, Any]] = []
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        candidates = [read_candidate(row, self._reader, self._options) for row in rows]
        drop_too_long([each for each in candidates if not each.dropped], self._options)
        for row, candidate in zip(indices, candidates, strict=True):
            self.tally.rows_read = row + 1
            self._drop_repeated(row, candidate)
            if candidate.dropped:
                count(self.tally.dropped, candidate.dropped, row, candidate.example)
                continue
            kept.append(self._record(row, candidate))
            if self._is_full():
                break
        return {name: [record[name] for record in kept] for name in columns}

    def _is_full(self) -> bool:
        return len(self._first) == self._options.max_rows

    def _drop_repeated(self, row: int, candidate: Candidate) -> None:
        if candidate.dropped:
            return
        first, golds = self._first.setdefault(candidate.key, (row, candidate.golds))
        if first != row:
            difference = "" if candidate.golds == golds else ", with another answer"
            candidate.dropped = f"the problem of an earlier row{difference}"
            candidate.example = f"as row {first}: {candidate.example}"

    def _record(self, row: int, candidate: Candidate) -> dict[str, Any]:
        for reason in candidate.left_out:
            count(self.tally.left_out, reason, row, candidate.example)
        demonstrations = list(candidate.demonstrations.items())[: self._options.max_demonstrations]
        if not demonstrations:
            count(self.tally.noted, "no demonstration in the source", row, candidate.example)
        asked = asked_forms(candidate.prompt)
        if any(ends_otherwise(asked, text) for _, text in demonstrations):
            count(self.tally.noted, "answers in another form than asked for", row, candidate.example)
        corruptions = [self._corrupt(candidate, place) for place, _ in demonstrations]
        return {
            "row": row,
            "key": str(candidate.key),
            "group": str(candidate.group),
            "example": candidate.example,
            "prompt": candidate.prompt,
            "golds": candidate.golds,
            "places": [place for place, _ in demonstrations],
            "texts": [text for _, text in demonstrations],
            "corrupted_texts": [found and found.text for found in corruptions],
            "wrong_answers": [found and found.answer for found in corruptions],
            "certain": [found and found.is_certain for found in corruptions],
        }

    def _corrupt(self, candidate: Candidate, place: int) -> Corruption | None:
        if not self._options.corrupted_share:
            return None
        rng = generator(self._options.seed, Purpose.CORRUPTION, (candidate.key, place))
        return corrupt(candidate.demonstrations[place], candidate.golds, rng)


def read_candidate(row: dict[str, Any], reader: Reader, options: ConversionOptions) -> Candidate:
    """A row in the form of the options, or with the reason why it is unusable."""
    try:
        problem = reader.read(row)
        texts = [convert_thinking(text, options.thinking) for text in problem.demonstrations]
        nonempty = [text for text in texts if text.strip()]
        if texts and not nonempty:
            raise Unusable("no demonstration with anything outside its thinking")
        prompt = make_prompt(
            problem.prompt,
            instruction=options.instruction,
            conversational=not options.plain_text,
            system_prompt=options.system_prompt,
        )
    except Unusable as error:
        value = row[reader.columns[0]]
        if isinstance(value, list) and value and isinstance(value[-1], dict):
            value = value[-1].get("content")
        return Candidate(excerpt(str(value)), dropped=str(error))
    return Candidate(
        excerpt(problem.text),
        key=stable_hash(problem.text),
        group=text_key(problem.text),
        prompt=prompt,
        demonstrations=dict(enumerate(nonempty)),
        golds=[problem.solution] if isinstance(problem.solution, str) else list(problem.solution),
        left_out=[*problem.left_out, *["nothing outside its thinking"] * (len(texts) - len(nonempty))],
    )


def drop_too_long(candidates: Sequence[Candidate], options: ConversionOptions) -> None:
    """Drops rows whose prompt or all of whose demonstrations are too long, and leaves out single demonstrations."""
    if (tokenizer := options.tokenizer) is None:
        return
    prompt_lengths = count_tokens(tokenizer, [render_prompt(tokenizer, each.prompt) for each in candidates])
    lengths = iter(count_tokens(tokenizer, [text for each in candidates for text in each.demonstrations.values()]))
    reason = f"longer than {options.max_demonstration_tokens} tokens"
    for candidate, prompt_length in zip(candidates, prompt_lengths, strict=True):
        too_long = [place for place in candidate.demonstrations if next(lengths) > options.max_demonstration_tokens]
        if prompt_length > options.max_prompt_tokens:
            candidate.dropped = f"a prompt longer than {options.max_prompt_tokens} tokens"
        elif too_long and len(too_long) == len(candidate.demonstrations):
            candidate.dropped = f"every demonstration {reason}"
        else:
            candidate.left_out += [reason] * len(too_long)
            for place in too_long:
                del candidate.demonstrations[place]


def count_tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[int]:
    """Number of tokens of each text, without special tokens at its ends."""
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def render_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: str | list[Message]) -> str:
    """A prompt as text: messages in the chat template, or joined where the tokenizer has none."""
    if isinstance(prompt, str):
        return prompt
    if not tokenizer.chat_template:
        return "\n".join(message["content"] for message in prompt)
    return render_messages(tokenizer, [prompt])[0]


def count(counts: dict[str, Count], reason: str, row: int, example: str) -> None:
    """Counts a reason; the first example of each is kept."""
    counts.setdefault(reason, Count(0, row, example)).number += 1
