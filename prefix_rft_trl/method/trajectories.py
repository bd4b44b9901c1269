"""Trajectories: demonstrations of several turns with tool calls, and where a prefix of one is cut."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from .call_faults import call_fault
from .demonstrations import Message
from .open_calls import OpenCall, answered_place


@dataclass(frozen=True)
class Turn:
    """An assistant message, and what the tools that it called have answered.

    Attributes:
        message (`dict`): of the assistant; its `tool_calls`, if any, are of the type `function`.
        results (`list[dict]`): the messages of tools that follow it, as TRL writes them.
        call_ids (`tuple`): ids of its calls, by which results may name them.
    """

    message: Message
    results: tuple[Message, ...] = ()
    call_ids: tuple[str | None, ...] = ()
    _places: tuple[int, ...] = ()

    @property
    def calls(self) -> list[dict[str, Any]]:
        return self.message.get("tool_calls", [])

    @property
    def result_texts(self) -> list[str]:
        return [result["content"] for result in self.results]

    @property
    def open_places(self) -> list[int]:
        """Indices of the calls that have no result yet."""
        return [place for place in range(len(self.calls)) if place not in self._places]

    def answered_by(self, message: Message) -> "Turn":
        """Itself with a further result, in the order of its calls.

        Raises:
            ValueError: if the result is of none of the calls that wait for one.
        """
        names, left = [call["function"]["name"] for call in self.calls], self.open_places
        found = answered_place([OpenCall(names[place], self.call_ids[place]) for place in left], message)
        if found is None:
            given = message.get("tool_call_id") or message.get("name")
            waiting = " and ".join(f"'{names[place]}' ({self.call_ids[place]})" for place in left)
            raise ValueError(f"answers '{given}', which is none of the calls that wait for a result: {waiting}")
        place = left[found]
        result = {"role": "tool", "name": names[place], "content": message.get("content") or ""}
        places = sorted([*self._places, place])
        at = places.index(place)
        return replace(self, results=(*self.results[:at], result, *self.results[at:]), _places=tuple(places))


@dataclass(frozen=True)
class Trajectory:
    """A demonstration of several turns.

    Attributes:
        turns (`tuple[Turn]`): of the assistant, at least one; all but the last call tools.
    """

    turns: tuple[Turn, ...]

    @property
    def messages(self) -> list[Message]:
        return [message for turn in self.turns for message in (turn.message, *turn.results)]


def has_turns(demonstration: Any) -> bool:
    """Whether a demonstration is messages of which one calls a tool, or more than one."""
    if not (isinstance(demonstration, list) and all(isinstance(item, dict) for item in demonstration)):
        return False
    return len(demonstration) > 1 or any(item.get("tool_calls") for item in demonstration)


def parse_trajectory(messages: list[Message], row: int | str = "?", column: str = "completion") -> Trajectory:
    """Reads a demonstration of several turns.

    Args:
        messages (`list[dict]`): assistant messages, each but the last with `tool_calls` and followed by a message of
            the role `tool` for each call. Keys that `datasets` has filled with `None` are left out; arguments that are
            a text of JSON are as they are.
        row, column: where they come from, for the error message.

    Raises:
        ValueError: naming the row and the message that cannot be used.
    """

    def unusable(number: int, problem: str) -> ValueError:
        return ValueError(f"Row {row}, column '{column}': message {number} of the demonstration {problem}.")

    turns: list[Turn] = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if not isinstance(content, str | None):
            raise unusable(number, f"has {type(content).__name__} as its content. Write a turn with tools as text")
        if role == "tool" and turns and turns[-1].open_places:
            try:
                turns[-1] = turns[-1].answered_by(message)
            except ValueError as error:
                raise unusable(number, str(error)) from error
            continue
        if role != "assistant":
            raise unusable(number, f"is of the role '{role}', where a turn of the assistant or a result is expected")
        if turns and not turns[-1].calls:
            raise unusable(number, "follows a turn of the assistant that calls no tool, after which a rollout ends")
        if turns and (left := turns[-1].open_places):
            called = turns[-1].calls[left[0]]["function"]["name"]
            raise unusable(number, f"follows a call of '{called}' without a result. Add it, or remove the row")
        if fault := next(filter(None, map(call_fault, message.get("tool_calls") or ())), None):
            raise unusable(number, f"has a tool call that cannot be read: {fault}. Correct it, or remove the row")
        turns.append(Turn(_assistant_message(message), call_ids=_call_ids(message)))
    if not turns:
        raise ValueError(f"Row {row}, column '{column}': the demonstration has no message of the assistant.")
    return Trajectory(tuple(turns))


def _call_ids(message: Message) -> tuple[str | None, ...]:
    return tuple(call.get("id") for call in message.get("tool_calls") or ())


def _assistant_message(message: Message) -> Message:
    kept = {key: value for key, value in message.items() if value is not None and key != "tool_calls"}
    calls = [_tool_call(call.get("function") or call) for call in message.get("tool_calls") or ()]
    return {**kept, "content": kept.get("content", "")} | ({"tool_calls": calls} if calls else {})


def _tool_call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or {}
    arguments = json.loads(arguments) if isinstance(arguments, str) else without_filled_keys(arguments)
    return {"type": "function", "function": {"name": function["name"], "arguments": arguments}}


def without_filled_keys(value: Any) -> Any:
    """A value without the keys that only other rows have, which `datasets` has filled with `None` at every depth."""
    if isinstance(value, dict):
        return {key: without_filled_keys(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_filled_keys(item) for item in value]
    return value


@dataclass(frozen=True)
class TurnTokens:
    """Token ids of an assistant's turn.

    Attributes:
        ids (`list[int]`): behind the generation prompt, end of turn included.
        start (`int`): tokens of the completion before them, with the demonstration's own results of tools.
        calls_start (`int`, *optional*): index of the first token of its tool calls, which go to the end; `None` if
            it has none.
        is_read (`bool`): whether a tool loop reads the calls from them as they are in the demonstration.
        behind (`list[int]`): the demonstration's own results of tools, up to the next turn.
    """

    ids: list[int]
    start: int = 0
    calls_start: int | None = None
    is_read: bool = True
    behind: list[int] = field(default_factory=list)

    def outside_calls(self, length: int) -> int:
        """The largest number of leading tokens, at most `length`, that does not end within the tool calls."""
        if length >= len(self.ids):
            return len(self.ids)
        return length if self.calls_start is None else min(length, self.calls_start)


@dataclass(frozen=True)
class TurnPiece:
    """What a rollout gets of a demonstrated turn.

    Attributes:
        ids (`list[int]`): token ids; without the rest of the turn if it is cut.
        is_complete (`bool`): whether that is the whole turn, so that nothing of it is sampled.
        results (`list[str]`): what the tools that it called have answered in the demonstration.
    """

    ids: list[int]
    is_complete: bool
    results: list[str]


def cut_turns(turns: Sequence[TurnTokens], results: Sequence[list[str]], length: int) -> tuple[TurnPiece, ...]:
    """The pieces of turns that a prefix of `length` tokens has; a cut within tool calls moves to their beginning.

    Args:
        turns (`Sequence[TurnTokens]`): of the demonstration.
        results (`Sequence[list[str]]`): of the tools that each turn called.
        length (`int`): in tokens of the assistant's turns.
    """

    def pieces() -> Iterator[TurnPiece]:
        left = length
        for turn, answered in zip(turns, results, strict=True):
            kept = turn.outside_calls(left)
            if kept > 0:
                yield TurnPiece(turn.ids[:kept], kept == len(turn.ids), answered)
            if kept < len(turn.ids):
                return
            left -= kept

    return tuple(pieces())


def ids_with_results(turns: Sequence[TurnTokens]) -> list[int]:
    """Token ids of turns with the demonstration's own results of tools, as they follow a prompt."""
    return [token for turn in turns for token in turn.ids + turn.behind]


def turns_length(ratio: float, turns: Sequence[TurnTokens]) -> int:
    """Tokens of the first k = floor(l * m) of m turns, at most m - 1, for a prefix of whole turns."""
    whole = min(math.floor(ratio * len(turns)), len(turns) - 1)
    return sum(len(turn.ids) for turn in turns[:whole])


def fitting_length(turns: Sequence[TurnTokens], budget: int) -> int:
    """Tokens of turns that stand within the first `budget` of a completion, behind the demonstration's own results."""
    return sum(min(max(budget - turn.start, 0), len(turn.ids)) for turn in turns)


def whole_turns_length(turns: Sequence[TurnTokens], length: int) -> int:
    """Tokens of the turns that are whole among the first `length`."""
    ends = accumulate(len(turn.ids) for turn in turns)
    return max((end for end in ends if end <= length), default=0)


def readable_length(turns: Sequence[TurnTokens]) -> int:
    """Tokens of turns before the first calls that a tool loop would not read as they are in the demonstration."""
    length = 0
    for turn in turns:
        if not turn.is_read:
            return length + (turn.calls_start or 0)
        length += len(turn.ids)
    return length
