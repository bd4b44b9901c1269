"""Tools and environments of `prefix-rft data check`, by its flags or the settings of a recipe."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError, as_user_error


if TYPE_CHECKING:
    from prefix_rft_trl.trajectories.checked_calls import ToolCallCheck

Settings = dict[str, Any]


def add_tool_flags(parser: argparse.ArgumentParser) -> None:
    functions = "functions that rollouts may call, such as my_tools.search"
    parser.add_argument("--tools", nargs="+", action="extend", metavar="PATH", help=functions)
    environment = "class or function that makes an environment, or JSON of such by the rows' `environment`"
    parser.add_argument("--environment_factory", metavar="PATH", help=environment)
    execute = "execute the tool calls of all demonstrations, and compare the results with theirs"
    parser.add_argument("--execute", action="store_true", help=execute)


def make_call_check(arguments: argparse.Namespace, settings: Settings, column: str | None) -> "ToolCallCheck | None":
    """The check of tool calls, with what flags and recipe name; `None` without demonstrations.

    Args:
        arguments (`Namespace`): with the flags.
        settings (`dict`): of a recipe.
        column (`str`, *optional*): of the demonstrations.

    Raises:
        UserError: naming a tool or an environment that cannot be loaded, or a flag that needs one.
    """
    if column is None:
        if arguments.tools or arguments.environment_factory or arguments.execute:
            raise UserError(
                "--tools, --environment_factory and --execute are about demonstrations, and --demonstration_column is "
                "none. Name the column, or leave them out."
            )
        return None
    names = arguments.tools or settings.get("tools") or []
    environment = _read_environment(arguments.environment_factory or settings.get("environment_factory"))
    if arguments.execute and not (names or environment):
        raise UserError(
            "--execute needs the tools of the dataset: name them with --tools, --environment_factory, or in a recipe."
        )
    tools, factory = _load([names] if isinstance(names, str) else names, environment)
    from prefix_rft_trl.trajectories.checked_calls import ToolCallCheck

    unit = "token" if settings.get("trainer") == "sft" else settings.get("prefix_unit", "token")
    return ToolCallCheck(column, tools, factory, unit, arguments.execute)


def _load(names: list[str], environment: Any) -> tuple[list[Any], Any]:
    from prefix_rft_trl.trajectories.tool_registry import load_environments, load_tools

    with as_user_error(ValueError):
        return load_tools(names), load_environments(environment) if environment else None


def _read_environment(value: Any) -> Any:
    if not (isinstance(value, str) and value.lstrip().startswith("{")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(
            f"--environment_factory is no JSON: {error}. Give a dotted path, or a mapping to such."
        ) from error
