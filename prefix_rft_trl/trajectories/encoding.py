"""Token ids of a demonstration's turns, as the chat template of a run gives them behind what comes before."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from trl.chat_template_utils import parse_response

from prefix_rft_trl.method.demonstrations import REASONING_KEYS, Message
from prefix_rft_trl.method.trajectories import Trajectory, Turn, TurnTokens


# From messages, and whether a generation prompt follows them, to the token ids of the chat template
Render = Callable[[list[Message], bool], list[int]]
# From the ids before a turn and those of the turn to its tool calls, as TRL's tool loop reads them
ReadCalls = Callable[[list[int], list[int]], list[dict[str, Any]] | None]


def render_with(tokenizer: Any, tools: list[Any] | None, **template_kwargs: Any) -> Render:
    """The chat template of a run with the tools of a row, as TRL renders its prompts."""

    def render(messages: list[Message], add_generation_prompt: bool) -> list[int]:
        return tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=False,
            **template_kwargs,
        )

    return render


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
        render (`Callable`): the chat template.
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
    of_prompt = len(opened)
    for turn in trajectory.turns:
        ids, calls_start = _encode_turn(render, before, opened, turn)
        if turn.calls:
            ids = _through_last(ids, {eos_token_id})
        else:
            ids = _through_last(ids, stops)
            ids = ids if ids[-1:] and ids[-1] in stops else [*ids, eos_token_id]
        is_read = not turn.calls or read_calls is None or read_calls(opened, ids) == turn.calls
        encoded.append(TurnTokens(ids, len(opened) - of_prompt, calls_start, is_read))
        if turn is trajectory.turns[-1]:
            break
        before += [turn.message, *turn.results]
        through = opened + ids
        opened = render(before, True)
        if opened[: len(through)] != through:
            raise ValueError(
                f"The chat template does not write the results of tools behind the turn {turn.message!r:.120}. Remove "
                "the text of the turn, or the row, or give the model a template that does."
            )
    return encoded


def _encode_turn(render: Render, before: list[Message], opened: list[int], turn: Turn) -> tuple[list[int], int | None]:
    """The ids of a turn, and where its tool calls begin."""
    for context, start in _contexts(render, before, opened):
        ids = render([*context, turn.message], False)
        if ids[: len(start)] == start:
            break
    else:
        raise ValueError(
            f"The chat template does not continue its generation prompt with the turn {turn.message!r:.120}. Give "
            "the model a template that keeps what came before, or set `chat_template_kwargs` so that it does."
        )
    if not turn.calls:
        return ids[len(start) :], None

    calls_start = _calls_start(lambda message: render([*context, message], False), turn)
    return ids[len(start) :], max(calls_start - len(start), 0)


def _calls_start(render: Callable[[Message], list[int]], turn: Turn) -> int:
    """Index of the first token of a turn's calls: behind its texts, or where a turn without calls is another."""
    ids = render(turn.message)
    others = [{"type": "function", "function": call["function"] | {"name": "_"}} for call in turn.calls]
    within = _shared_start(ids, render(turn.message | {"tool_calls": others}))
    starts = [_shared_start(ids, render(_without(turn.message, "tool_calls")))]
    for key in ("content", *REASONING_KEYS):
        if text := turn.message.get(key):
            longer = render(turn.message | {key: text + ("," if text.endswith(".") else ".")})
            starts.append(len(ids) - _shared_start(ids[::-1], longer[::-1]))
    return max(start for start in starts if start <= within)


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
