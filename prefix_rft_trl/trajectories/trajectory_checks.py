"""Refuse rows that do not give trajectories, before a model is loaded."""

import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from accelerate.logging import get_logger
from trl import chat_template_utils as templates

from prefix_rft_trl.data.row_scan import ENCODED_SAMPLE, ROWS_OF_STREAM
from prefix_rft_trl.method.trajectories import Trajectory, Turn, has_turns
from prefix_rft_trl.models.processors import text_side
from prefix_rft_trl.rollouts import read_demonstrations

from .call_arguments import argument_faults, described
from .drawn_prefixes import prefix_share, refuse_no_prefixes
from .encoding import Render, encode_turns, read_calls_with
from .executed_calls import call_text
from .tool_arguments import RowTools


logger = get_logger(__name__)


def has_trajectories(dataset: Any, config: Any) -> bool:
    """Whether a demonstration of the dataset, or of the first rows of a stream, has turns."""
    column = config.needed_demonstration_column
    rows = dataset if hasattr(dataset, "__len__") else islice(dataset, ROWS_OF_STREAM)
    values = (example.get(column) for example in rows)
    return any(has_turns(item) for value in values if isinstance(value, list) for item in (value, *value))


def check_trajectory_rows(
    dataset: Any, given: inspect.BoundArguments, stop_ids: list[int], prompt_room: int | None = None
) -> None:
    """Reads the demonstrations of all rows, or of the first of a stream, and encodes a sample of them.

    Args:
        dataset: with the columns `prompt` and `demonstration_column`.
        given (`inspect.BoundArguments`): arguments of a trainer.
        stop_ids (`list[int]`): that end a completion.
        prompt_room (`int`, *optional*): tokens that the model has for a prompt.

    Raises:
        ValueError: naming the first row that cannot be used, or if none gives a prefix.
    """
    from tqdm.auto import tqdm

    args, column = given.arguments["args"], given.arguments["args"].demonstration_column
    check = TrajectoryCheck(given, stop_ids, prompt_room)
    is_streamed = not hasattr(dataset, "__len__")
    rows = list(islice(dataset, ROWS_OF_STREAM)) if is_streamed else dataset
    every = -(-len(rows) // ENCODED_SAMPLE) or 1
    lengths: dict[int, int] = {}  # turns of the longest demonstration of each row that has one
    for row, example in enumerate(tqdm(rows, desc="Reading rows", leave=False, delay=2)):
        found = read_demonstrations(example.get(column), row, column)
        try:
            turns = [check.read(example, each, is_sampled=row % every == 0) for each in found]
        except ValueError as error:
            raise ValueError(f"Row {row}, column '{column}': {error}.") from error
        if turns:
            lengths[row] = max(turns)
    if not lengths:
        raise ValueError(
            f"No row has a demonstration in column '{column}'. Add them, or set `num_prefix_generations=0`."
        )
    if args.prefix_unit == "turn":
        _check_numbers_of_turns(lengths, column)
    if not check.gives_single_turns:
        refuse_no_prefixes(check.prefix_shares, args)
    if check.without_text:
        logger.warning(
            f"The chat template leaves out the text of {check.without_text} of {check.encoded} turns with tool calls "
            "that were encoded: it is in no prefix."
        )


def _check_numbers_of_turns(lengths: dict[int, int], column: str) -> None:
    of_one_turn = [row for row, turns in lengths.items() if turns == 1]
    if len(of_one_turn) == len(lengths):
        raise ValueError(
            f"All demonstrations in column '{column}' have one turn, of which `prefix_unit='turn'` gives no prefix. "
            "Set it to 'token', or add demonstrations with tool calls."
        )
    if of_one_turn:
        logger.warning(
            f"{len(of_one_turn)} of {len(lengths)} rows have demonstrations of one turn, of which "
            f"`prefix_unit='turn'` gives no prefix (first: row {of_one_turn[0]})."
        )


class TrajectoryCheck:
    """Looks at one demonstration after the other.

    Attributes:
        encoded (`int`): turns with calls that were encoded.
        without_text (`int`): those of them whose text the chat template leaves out.
        gives_single_turns (`bool`): whether there are demonstrations of one turn, of which tokens are a prefix.
        prefix_shares (`list[float]`): of each demonstration that was encoded, from [`prefix_share`].
    """

    def __init__(self, given: inspect.BoundArguments, stop_ids: list[int], prompt_room: int | None) -> None:
        processor: Any = given.arguments.get("processing_class")
        self._text_side = text_side(processor)
        self._tokenizer = tokenizer = getattr(processor, "tokenizer", processor)
        self._args = given.arguments["args"]
        self._tools = RowTools(given)
        self._stop_ids, self._prompt_room = stop_ids, prompt_room
        self._chat_template: str | None = None
        self._forms: set[Any] = set()
        self.encoded = self.without_text = 0
        self.gives_single_turns = False
        self.prefix_shares: list[float] = []
        self._encodes = processor is not None and templates.supports_tool_calling(processor)
        self._stops = self._marks = re.compile(r"(?!)")
        if self._encodes:
            self._stops = _any_of(tokenizer.decode([token]) for token in stop_ids)
            added = tokenizer.get_added_vocab().items()
            self._added = frozenset(token for text, token in added if not text.isidentifier()).difference(stop_ids)
            if not (getattr(tokenizer, "response_template", None) or getattr(tokenizer, "response_schema", None)):
                templates.add_response_schema(processor)
            if not templates.is_chat_template_prefix_preserving(processor):
                self._chat_template = templates.get_training_chat_template(processor)

    def read(self, example: dict[str, Any], demonstration: Any, is_sampled: bool) -> int:
        """The number of turns of a demonstration.

        Raises:
            ValueError: if it cannot be used.
        """
        if not isinstance(demonstration, Trajectory):
            self.gives_single_turns |= self._args.prefix_unit == "token"
            return 1
        if not isinstance(example["prompt"], list):
            raise ValueError("the demonstration calls tools, and the prompt is text. Make it a list of messages")
        tools = self._tools.of_row(example)
        called = {call["function"]["name"] for turn in demonstration.turns for call in turn.calls}
        names = called if tools is None else {tool.__name__ for tool in tools}
        if missing := sorted(called - names):
            raise ValueError(
                f"the demonstration calls the tool '{missing[0]}', which is not among those of the row: "
                f"{', '.join(sorted(names))}. Pass it, or remove the row"
            )
        if found := next(filter(None, map(self._stops.search, _texts(demonstration))), None):
            raise ValueError(
                f"the demonstration has {found[0]!r} in a turn, which ends a completion. Store demonstrations without "
                "the marks of a chat template"
            )
        form = tuple((len(turn.calls), frozenset(turn.message)) for turn in demonstration.turns)
        is_open = is_sampled or form not in self._forms or any(map(self._marks.search, _texts(demonstration)))
        if self._encodes and tools is not None and is_open:
            self._forms.add(form)
            self._encode(example, demonstration, tools)
        return len(demonstration.turns)

    def _encode(self, example: dict[str, Any], trajectory: Trajectory, tools: list[Any]) -> None:
        prompt, tokenizer, kwargs = example["prompt"], self._tokenizer, self._args.chat_template_kwargs or {}
        render = Render(self._text_side, tools, {"chat_template": self._chat_template, **kwargs})
        length = len(render(prompt, True))
        if self._prompt_room is not None and length > self._prompt_room:
            raise ValueError(
                f"the prompt has {length:,} tokens with its tools, and {self._prompt_room:,} fit beside "
                "`max_completion_length` into the positions of the model. Lower it, or remove the row"
            )
        read_calls = read_calls_with(tokenizer, tools)
        encoded = encode_turns(render, read_calls, prompt, trajectory, tokenizer.eos_token_id, self._stop_ids)
        for tokens, turn in zip(encoded, trajectory.turns, strict=True):
            if not tokens.is_read:
                raise ValueError(_read_otherwise(turn, tools))
            if turn.calls:
                of_calls = self._added.intersection(tokens.ids[tokens.calls_start :])
                self._marks = _any_of(map(tokenizer.decode, of_calls))
                self.encoded += 1
                text = turn.message["content"].strip()
                self.without_text += bool(text) and text not in tokenizer.decode(tokens.ids)
        answer = example.get(self._args.answer_column) if self._args.answer_column else None
        self.prefix_shares.append(prefix_share(encoded, trajectory, answer, self._args, tokenizer))


def _read_otherwise(turn: Turn, tools: list[Any]) -> str:
    descriptions = {description["name"]: description for description in map(described, tools)}
    functions = [call["function"] for call in turn.calls]
    faults = [
        f"in '{function['name']}', {fault}"
        for function in functions
        for fault in argument_faults(function["arguments"], descriptions[function["name"]])
    ]
    return (
        f"calls are read otherwise from what the chat template makes of them: {', '.join(map(call_text, turn.calls))}"
        f"{' (' + '; '.join(faults) + ')' if faults else ''}. Change the arguments to what the tool takes and the "
        "template can write, or remove the row"
    )


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds any of some texts; nothing where there are none."""
    return re.compile("|".join(map(re.escape, filter(None, texts))) or r"(?!)")


def _texts(trajectory: Trajectory) -> Iterator[str]:
    """All texts of the assistant in a trajectory."""
    for turn in trajectory.turns:
        yield from _strings(turn.message)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
