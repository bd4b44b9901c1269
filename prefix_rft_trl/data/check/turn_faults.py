"""Faults in the messages of a demonstration with tool calls: calls and results that do not belong together."""

import json
from collections.abc import Iterator, Sequence

from prefix_rft_trl.data.texts import excerpt
from prefix_rft_trl.method.call_faults import call_fault
from prefix_rft_trl.method.demonstrations import Message
from prefix_rft_trl.method.open_calls import OpenCall, answered_place
from prefix_rft_trl.method.trajectories import Trajectory


def turn_faults(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Kind and note of each fault: a call that cannot be read or has no result, a result without its call."""
    waiting: list[OpenCall] = []
    calling = 0  # number of the message that has made the calls
    for number, message in enumerate(messages):
        if message.get("role") == "tool":
            place = answered_place(waiting, message)
            if place is None:
                yield "result_without_call", f"message {number} answers {_result_name(message, waiting)}"
            else:
                waiting.pop(place)
            continue
        yield from _without_result(waiting, calling)
        waiting, calling = [], number
        for call in message.get("tool_calls") or ():
            if fault := call_fault(call):
                yield "call_unreadable", f"message {number}: {fault}"
                waiting.append(OpenCall(None, None))
            else:
                waiting.append(OpenCall((call.get("function") or call)["name"], call.get("id")))
    yield from _without_result(waiting, calling)


def spoken_text(trajectory: Trajectory) -> str:
    """The texts of a trajectory and what tools have answered, in order, one in a line."""
    texts = [str(message.get("content") or "") for message in trajectory.messages]
    return "\n".join(text for text in texts if text.strip())


def written_text(trajectory: Trajectory) -> str:
    """The text of a trajectory with its calls, each as its name and its arguments in JSON."""
    calls = (call["function"] for turn in trajectory.turns for call in turn.calls)
    written = (f"{call['name']} {json.dumps(call['arguments'], ensure_ascii=False)}" for call in calls)
    return "\n".join((spoken_text(trajectory), *written))


def _result_name(result: Message, waiting: list[OpenCall]) -> str:
    name = result.get("name") or result.get("tool_call_id") or "a tool"
    called = " and ".join(f"'{call.name}'" for call in waiting)
    after = f", where {called} was called" if waiting else ", and no call waits for it"
    return f"'{name}'{after}: {excerpt(str(result.get('content')), 40)!r}"


def _without_result(waiting: list[OpenCall], calling: int) -> Iterator[tuple[str, str]]:
    for call in waiting:
        if call.name is not None:
            yield "call_without_result", f"message {calling} calls '{call.name}', and no result follows"
