"""Arguments of a trainer with tools: what cannot be combined with them, and the tools of each row."""

import inspect
from typing import Any


NOT_WITH_TOOLS = {  # setting: value, and why it cannot be combined with tools
    "demonstration_source": ("own", "an own success is kept without the results of its tools"),
    "prefix_placement": ("prompt", "a hint is text, in which calls are not executed"),
    "prefix_ratio_distribution": ("binomial", "slices of sentences are not of turns"),
}
ONLY_WITH_TOOLS = ("prefix_unit", "prefix_tool_results")


def takes_tools(given: inspect.BoundArguments) -> bool:
    """Whether a trainer's rollouts may call tools."""
    return bool(given.arguments.get("tools") or given.arguments.get("environment_factory"))


def refuse_settings_without_tools(args: Any) -> None:
    """Raises a ValueError if a setting of trajectories is set in a run without tools."""
    for name in ONLY_WITH_TOOLS:
        default = inspect.signature(type(args)).parameters[name].default
        if getattr(args, name) != default:
            raise ValueError(
                f"`{name}={getattr(args, name)!r}` is about demonstrations with tool calls, and the trainer has no "
                "`tools` and no `environment_factory`. Pass them, or leave it at its default."
            )


def refuse_settings_with_tools(given: inspect.BoundArguments) -> None:
    """Raises a ValueError if an argument of hybrid rollouts does not go with tools."""
    args = given.arguments["args"]
    for name, (value, reason) in NOT_WITH_TOOLS.items():
        if getattr(args, name) == value:
            raise ValueError(f"`{name}={value!r}` cannot be combined with tools: {reason}. Leave it at its default.")
    if args.prefix_tool_results == "demonstration" and given.arguments.get("environment_factory"):
        raise ValueError(
            "`prefix_tool_results='demonstration'` executes no call of a prefix, so an environment would not "
            "have the state that the prefix says. Set it to 'real', or pass `tools` instead of `environment_factory`."
        )


class RowTools:
    """Tools of each row, as far as they are known before environments are made.

    Args:
        given (`inspect.BoundArguments`): arguments of a trainer.
    """

    def __init__(self, given: inspect.BoundArguments) -> None:
        self._tools = list(given.arguments.get("tools") or [])
        self._factory = given.arguments.get("environment_factory")

    def of_row(self, example: dict[str, Any]) -> list[Any] | None:
        """Functions and methods of a row; `None` if they are not known: its environment is not made by a class, or a
        `rollout_func` calls tools of its own.

        Raises:
            ValueError: if there is no such environment.
        """
        factory = self._factory
        if isinstance(factory, dict):
            name = example.get("environment")
            if name not in factory:
                raise ValueError(
                    f"the column 'environment' has {name!r}, which is not among those of `environment_factory`: "
                    f"{', '.join(map(str, factory))}. Pass it, or change the row"
                )
            factory = factory[name]
        if factory is None:
            return self._tools or None
        return [*self._tools, *_methods(factory)] if inspect.isclass(factory) else None


def _methods(environment: type) -> list[Any]:
    """Methods that TRL takes as tools, of an object that is not initialized."""
    made: Any = object.__new__(environment)
    names = (name for name, _ in inspect.getmembers(environment, predicate=inspect.isfunction))
    return [getattr(made, name) for name in names if name not in ("reset", "get_reward") and not name.startswith("_")]
