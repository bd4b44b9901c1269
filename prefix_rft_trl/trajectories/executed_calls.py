"""Execute the tool calls of a demonstration as TRL's tool loop does, and compare the results with its own."""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prefix_rft_trl.data.texts import excerpt
from prefix_rft_trl.method.trajectories import Trajectory, Turn


Call = dict[str, Any]


def tools_of_row(tools: list[Callable[..., Any]], factory: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    """The functions that a rollout of a row may call, by name, with an environment that is made and reset for it.

    Args:
        tools (`list[Callable]`): of all rows.
        factory: makes an environment; a mapping to such by the row's `environment`; or `None`.
        row (`Mapping`): of the dataset.
    """
    found = {tool.__name__: tool for tool in tools}
    if factory is None:
        return found
    several = isinstance(factory, Mapping)
    environment = (factory[row["environment"]] if several else factory)()
    environment.reset(**{name: value for name, value in row.items() if not (several and name == "environment")})
    names = (name for name, _ in inspect.getmembers(type(environment), predicate=inspect.isfunction))
    methods = [name for name in names if name not in ("reset", "get_reward") and not name.startswith("_")]
    return found | {name: getattr(environment, name) for name in methods}


def results_that_differ(trajectory: Trajectory, tools: Mapping[str, Any]) -> Iterator[str]:
    """Each result that is another than in the demonstration, in the order of the calls; all of them are executed."""
    for number, turn in enumerate(trajectory.turns):
        for (call, real), demonstrated in zip(executed(turn, tools), turn.result_texts, strict=False):
            if real != demonstrated:
                yield (
                    f"turn {number}, {call_text(call)} gives {excerpt(real, 50)!r}, and the demonstration has "
                    f"{excerpt(demonstrated, 50)!r}"
                )


def executed(turn: Turn, tools: Mapping[str, Any]) -> list[tuple[Call, str]]:
    """The calls of a turn with their results; async tools are called behind the others, as in TRL's loop."""
    waits = [inspect.iscoroutinefunction(tools.get(call["function"]["name"])) for call in turn.calls]
    results = [None if is_async else _called(call, tools) for call, is_async in zip(turn.calls, waits, strict=True)]
    return [
        (call, asyncio.run(_awaited(call, tools)) if result is None else result)
        for call, result in zip(turn.calls, results, strict=True)
    ]


def call_text(call: Call) -> str:
    """A call as it would be written in Python."""
    function = call["function"]
    arguments = ", ".join(f"{name}={value!r}" for name, value in function["arguments"].items())
    return excerpt(f"{function['name']}({arguments})", 60)


def _called(call: Call, tools: Mapping[str, Any]) -> str:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    try:
        if name not in tools:
            raise ValueError(f"Tool {name} not found.")
        return str(tools[name](**arguments))
    except (Exception, SystemExit) as error:
        return str({"error": str(error)})


async def _awaited(call: Call, tools: Mapping[str, Any]) -> str:
    try:
        return str(await tools[call["function"]["name"]](**call["function"]["arguments"]))
    except (Exception, SystemExit) as error:
        return str({"error": str(error)})
