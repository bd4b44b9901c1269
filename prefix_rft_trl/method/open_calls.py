"""Find the tool call that a result is of."""

from collections.abc import Sequence
from dataclasses import dataclass

from .demonstrations import Message


@dataclass(frozen=True)
class OpenCall:
    """A tool call that has no result yet; without a name where it cannot be read."""

    name: str | None
    id: str | None


def answered_place(calls: Sequence[OpenCall], result: Message) -> int | None:
    """Index of the call that a result is of, `None` if it is of none: the one with its id, or if calls have no ids the
    first of the tool that it names, or the first of all. A result never has another name than its call."""
    answered, name = result.get("tool_call_id"), result.get("name")
    goes_by_id = answered is not None and any(call.id is not None for call in calls)
    for place, call in enumerate(calls):
        if (not goes_by_id or call.id == answered) and (not name or call.name in (None, name)):
            return place
    return None
