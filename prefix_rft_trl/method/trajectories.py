"""Trajectories: demonstrations of several turns with tool calls, and where a prefix of one is cut."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .demonstrations import Message


@dataclass(frozen=True)
class Turn:
    """An assistant message, and what the tools that it called have answered.

    Attributes:
        message (`dict`): of the assistant; its `tool_calls`, if any, are of the type `function`.
        results (`list[dict]`): the messages of tools that follow it.
    """

    message: Message
    results: tuple[Message, ...] = ()

    @property
    def calls(self) -> list[dict[str, Any]]:
        return self.message.get("tool_calls", [])

    @property
    def result_texts(self) -> list[str]:
        return [str(result["content"]) for result in self.results]


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
            the role `tool` for each call. Keys that `datasets` has filled with `None` are left out.
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
            raise unusable(number, f"has {type(content).__name__} as its content; a turn with tools is text")
        if role == "tool" and turns and len(turns[-1].results) < len(turns[-1].calls):
            result = {key: value for key, value in message.items() if value is not None} | {"content": content or ""}
            turns[-1] = Turn(turns[-1].message, (*turns[-1].results, result))
            continue
        if role != "assistant":
            raise unusable(number, f"is of the role '{role}', where a turn of the assistant or a result is expected")
        if turns and not turns[-1].calls:
            raise unusable(number, "follows a turn of the assistant that calls no tool, after which a rollout ends")
        if turns and len(turns[-1].results) < len(turns[-1].calls):
            raise unusable(number, f"follows a call without a result: {turns[-1].calls[-1]['function']['name']}")
        try:
            turns.append(Turn(_assistant_message(message)))
        except (KeyError, TypeError, ValueError) as error:
            raise unusable(number, f"has a tool call that cannot be read ({error!r:.80})") from error
    if not turns:
        raise ValueError(f"Row {row}, column '{column}': the demonstration has no message of the assistant.")
    return Trajectory(tuple(turns))


def _assistant_message(message: Message) -> Message:
    kept = {key: value for key, value in message.items() if value is not None and key != "tool_calls"}
    calls = [_tool_call(call.get("function") or call) for call in message.get("tool_calls") or ()]
    return {**kept, "content": kept.get("content", "")} | ({"tool_calls": calls} if calls else {})


def _tool_call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or {}
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    filled = {key: value for key, value in arguments.items() if value is not None}
    return {"type": "function", "function": {"name": str(function["name"]), "arguments": filled}}


@dataclass(frozen=True)
class TurnTokens:
    """Token ids of an assistant's turn.

    Attributes:
        ids (`list[int]`): behind the generation prompt, end of turn included.
        call_starts (`list[int]`): index of the first token of each tool call; a call goes to the next, or to the end.
    """

    ids: list[int]
    call_starts: list[int] = field(default_factory=list)

    def outside_calls(self, length: int) -> int:
        """The largest number of leading tokens, at most `length`, that does not end within a tool call."""
        if length >= len(self.ids) or not self.call_starts or length <= self.call_starts[0]:
            return min(length, len(self.ids))
        return max(start for start in self.call_starts if start <= length)


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
    """The pieces of turns that a prefix of `length` tokens has; a cut within a tool call moves to its beginning.

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


def turns_length(ratio: float, turns: Sequence[TurnTokens]) -> int:
    """Tokens of the first k = floor(l * m) of m turns, at most m - 1, for a prefix of whole turns."""
    whole = min(math.floor(ratio * len(turns)), len(turns) - 1)
    return sum(len(turn.ids) for turn in turns[:whole])
