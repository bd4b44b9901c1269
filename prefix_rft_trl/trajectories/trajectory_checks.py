"""Refuse arguments and rows that do not give trajectories, before a model is loaded."""

import inspect
from itertools import islice
from typing import Any

from prefix_rft_trl.data.row_scan import ROWS_OF_STREAM
from prefix_rft_trl.method.trajectories import Trajectory, has_turns
from prefix_rft_trl.rollouts import read_demonstrations


def takes_tools(given: inspect.BoundArguments) -> bool:
    """Whether a trainer's rollouts may call tools."""
    return bool(given.arguments.get("tools") or given.arguments.get("environment_factory"))


def has_trajectories(dataset: Any, config: Any) -> bool:
    """Whether a demonstration of the dataset, or of the first rows of a stream, has turns."""
    column = config.needed_demonstration_column
    rows = dataset if hasattr(dataset, "__len__") else islice(dataset, ROWS_OF_STREAM)
    values = (example.get(column) for example in rows)
    return any(has_turns(item) for value in values if isinstance(value, list) for item in (value, *value))


def refuse_settings_with_tools(args: Any) -> None:
    """Raises a ValueError if settings of hybrid rollouts do not go with tools."""
    refused = {
        "demonstration_source": ("own", "an own success is kept without the results of its tools"),
        "prefix_placement": ("prompt", "a hint is text, in which calls are not executed"),
        "prefix_ratio_distribution": ("binomial", "slices of sentences are not of turns"),
    }
    for name, (value, reason) in refused.items():
        if getattr(args, name) == value:
            raise ValueError(f"`{name}='{value}'` cannot be combined with tools: {reason}. Leave it at its default.")
    if args.per_device_demonstration_batch_size:
        raise ValueError(
            "`per_device_demonstration_batch_size` trains demonstrations as one turn, so it cannot be combined with "
            "tools. Set it to 0."
        )


def check_trajectory_rows(dataset: Any, column: str, tools: list[Any] | None) -> None:
    """Reads the demonstrations of all rows, or of the first of a stream.

    Args:
        dataset: with the columns `prompt` and `column`.
        column (`str`): of the demonstrations.
        tools (`list`, *optional*): that all rows have; `None` if environments give further ones.

    Raises:
        ValueError: naming the first row that cannot be used, or if none has a demonstration.
    """
    names = None if tools is None else {tool.__name__ for tool in tools}
    rows = dataset if hasattr(dataset, "__len__") else islice(dataset, ROWS_OF_STREAM)
    demonstrated = 0
    for row, example in enumerate(rows):
        found = read_demonstrations(example.get(column), row, column)
        demonstrated += bool(found)
        for trajectory in (each for each in found if isinstance(each, Trajectory)):
            if not isinstance(example["prompt"], list):
                raise ValueError(
                    f"Row {row}: the demonstration calls tools, and the prompt is text. Make it a list of messages."
                )
            called = {call["function"]["name"] for turn in trajectory.turns for call in turn.calls}
            if names is not None and (missing := sorted(called - names)):
                raise ValueError(
                    f"Row {row}, column '{column}': the demonstration calls the tool '{missing[0]}', which is not "
                    f"among `tools`: {', '.join(sorted(names))}. Pass it, or remove the row."
                )
    if not demonstrated:
        raise ValueError(
            f"No row has a demonstration in column '{column}'. Add them, or set `num_prefix_generations=0`."
        )
