"""Why a tool call of a message cannot be read."""

import json
from typing import Any


def call_fault(call: Any) -> str | None:
    """The reason why a tool call cannot be read; `None` if it can.

    Args:
        call: of a message's `tool_calls`: an object with a `name` and `arguments`, or with these in its `function`.
            Arguments are an object, or the text of one in JSON.
    """
    function = (call.get("function") or call) if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return f"a call is {type(call).__name__}: {call!s:.40}"
    if not isinstance(function.get("name"), str):
        return f"a call has no name: {function!s:.60}"
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return f"the arguments of '{function['name']}' are no JSON: {arguments!r:.40}"
        arguments = "null" if arguments is None else arguments
    if not isinstance(arguments, dict | None):
        return f"the arguments of '{function['name']}' are no object: {arguments!s:.40}"
    return None
