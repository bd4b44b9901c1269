"""Token ids of a demonstration's turns, as the chat template of a run gives them behind what comes before."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from trl.chat_template_utils import parse_response

from prefix_rft_trl.method.demonstrations import REASONING_KEYS, Message, encode_continuation
from prefix_rft_trl.method.trajectories import Trajectory, Turn, TurnTokens


# From the ids before a turn and those of the turn to its tool calls, as TRL's tool loop reads them
ReadCalls = Callable[[list[int], list[int]], list[dict[str, Any]] | None]


@dataclass(frozen=True)
class Render:
    """The chat template of a run with the tools of a row, as TRL renders its prompts.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): of the policy, or what stands in for it.
        tools (`list`, *optional*): functions or schemas.
        template_kwargs (`dict`): further arguments of the chat template.
    """

    tokenizer: Any
    tools: list[Any] | None
    template_kwargs: dict[str, Any]

    def __call__(self, messages: list[Message], opens_turn: bool) -> list[int]:
        """Token ids of messages, and of the generation prompt behind them if it opens a turn."""
        return self._apply(messages, opens_turn, tokenize=True, return_dict=False)

    def text(self, messages: list[Message], opens_turn: bool) -> str:
        return self._apply(messages, opens_turn, tokenize=False)

    def _apply(self, messages: list[Message], opens_turn: bool, **form: bool) -> Any:
        named = {"tools": self.tools or None, "add_generation_prompt": opens_turn, **form, **self.template_kwargs}
        return self.tokenizer.apply_chat_template(messages, **named)


def read_calls_with(tokenizer: Any, tools: list[Any] | None) -> ReadCalls:
    """TRL's parser of completions, for a tokenizer with a response template."""
    return lambda before, ids: parse_response(tokenizer, ids, prefix=before, tools=tools).get("tool_calls")


def encode_turns(
    render: Render,
    read_calls: ReadCalls | None,
    prompt: list[Message],
    trajectory: Trajectory,
    eos_token_id: int,
    stop_ids: Iterable[int],
) -> list[TurnTokens]:
    """Token ids of each assistant's turn of a demonstration, end of turn included.

    They do not depend on what tools have answered, so that they are the same behind the results of tools that are
    executed: TRL puts a generation prompt between a result and a turn, and no token goes across it.

    Args:
        render (`Render`): the chat template.
        read_calls (`Callable`, *optional*): the parser of completions; without it no call is read back.
        prompt (`list[dict]`): the messages in front.
        trajectory (`Trajectory`): the demonstration.
        eos_token_id (`int`): of the tokenizer. TRL puts the results of tools behind the last one of a turn, or behind
            all of the turn if its template writes none.
        stop_ids (`Iterable[int]`): ids that end a completion. The last turn ends with one.

    Raises:
        ValueError: if the template does not continue its generation prompt with a turn, or writes the results of tools
            elsewhere than behind it.
    """
    before, encoded, stops = list(prompt), [], frozenset(stop_ids)
    opened = render(before, True)
    held, of_prompt = list(opened), len(opened)  # tokens as a rollout holds them
    for turn in trajectory.turns:
        ids, calls_start = _encode_turn(render, before, opened, turn)
        if turn.calls:
            ids = _through_last(ids, {eos_token_id})
        else:
            ids = _through_last(ids, stops)
            ids = ids if ids[-1:] and ids[-1] in stops else [*ids, eos_token_id]
        is_read = not turn.calls or read_calls is None or read_calls(held, ids) == turn.calls
        start, behind = len(held) - of_prompt, []
        if turn is not trajectory.turns[-1]:
            through, following = opened + ids, [*before, turn.message, *turn.results]
            opened = render(following, True)
            behind = _encode_results(render, before, turn, through, opened, eos_token_id)
            before = following
        encoded.append(TurnTokens(ids, start, calls_start, is_read, behind))
        held += ids + behind
    return encoded


def _encode_turn(render: Render, before: list[Message], opened: list[int], turn: Turn) -> tuple[list[int], int | None]:
    """The ids of a turn, and where its tool calls begin."""
    for context, start in _contexts(render, before, opened):
        if (ids := _written(render, context, start, turn.message)) is not None:
            return ids, _calls_start(render, context, start, ids, turn) if turn.calls else None
    raise ValueError(
        f"The chat template does not continue its generation prompt with the turn {turn.message!r:.120}. Give "
        "the model a template that keeps what came before, or set `chat_template_kwargs` so that it does."
    )


def _written(render: Render, context: list[Message], start: list[int], message: Message) -> list[int] | None:
    """The ids of a message behind a context and its generation prompt; `None` if the template does not continue it."""

    def texts() -> tuple[str, str]:
        return render.text(context, True), render.text([*context, message], False)

    return _continued(render, start, render([*context, message], False), texts)


def _encode_results(
    render: Render, before: list[Message], turn: Turn, through: list[int], opened: list[int], eos_token_id: int
) -> list[int]:
    """The ids of what a template writes between a turn and the next, `opened` being all up to there."""

    def texts() -> tuple[str, str]:
        start, whole = render.text(before, True), render.text([*before, turn.message], False)
        spoken, end, _ = whole.removeprefix(start).rpartition(render.tokenizer.decode([eos_token_id]))
        through_end = start + spoken + end if end else whole
        return through_end, render.text([*before, turn.message, *turn.results], True)

    behind = _continued(render, through, opened, texts)
    if behind is None:
        raise ValueError(
            f"The chat template does not write the results of tools behind the turn {turn.message!r:.120}. Remove "
            "the text of the turn, or the row, or give the model a template that does."
        )
    return behind


def _continued(
    render: Render, start: list[int], ids: list[int], texts: Callable[[], tuple[str, str]]
) -> list[int] | None:
    """The ids behind a start; `None` if the text is another. Tokens that go across its end, as line breaks do in many
    vocabularies, are not those of a rollout: the text behind it is then encoded by itself."""
    if ids[: len(start)] == start:
        return ids[len(start) :]
    start_text, text = texts()
    return encode_continuation(render.tokenizer, text[len(start_text) :]) if text.startswith(start_text) else None


def _calls_start(render: Render, context: list[Message], start: list[int], ids: list[int], turn: Turn) -> int:
    """Index of the first token of a turn's calls: behind its texts, or where a turn without calls is another.

    It is looked for behind a question of one character if the turn is the same there, or else behind all that comes
    before it, which takes the longer the more turns there are.
    """
    question: list[Message] = [{"role": "user", "content": "?"}]
    asked = render(question, True)
    if _written(render, question, asked, turn.message) == ids:
        context, start = question, asked

    def write(message: Message) -> list[int]:
        return _written(render, context, start, message) or []

    others = [{"type": "function", "function": call["function"] | {"name": "_"}} for call in turn.calls]
    within = _shared_start(ids, write(turn.message | {"tool_calls": others}))
    starts = [_shared_start(ids, write(_without(turn.message, "tool_calls")))]
    for key in ("content", *REASONING_KEYS):
        if text := turn.message.get(key):
            longer = write(turn.message | {key: text + ("," if text.endswith(".") else ".")})
            starts.append(len(ids) - _shared_start(ids[::-1], longer[::-1]))
    return max((start for start in starts if start <= within), default=0)


def _contexts(render: Render, before: list[Message], opened: list[int]) -> Iterator[tuple[list[Message], list[int]]]:
    """What may stand in front of a turn, with its ids: first all of it, then without the texts of turns that call
    tools, which some templates drop as soon as there is an answer."""
    yield before, opened
    bare = [
        _without(message, *REASONING_KEYS) | {"content": ""} if message.get("tool_calls") else message
        for message in before
    ]
    yield bare, render(bare, True)


def _without(message: Message, *keys: str) -> Message:
    return {key: value for key, value in message.items() if key not in keys}


def _through_last(ids: list[int], ends: Iterable[int]) -> list[int]:
    """The ids up to the last of those that are an end; all of them if none is."""
    ends = frozenset(ends)
    return ids[: next((place for place in range(len(ids), 0, -1) if ids[place - 1] in ends), len(ids))]


def _shared_start(ids: list[int], others: list[int]) -> int:
    """Number of leading ids that are the same."""
    pairs = enumerate(zip(ids, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(ids), len(others)))
