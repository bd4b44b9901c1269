"""Tools and environments that a recipe names: registered names and dotted paths."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefix_rft_trl.utils.dotted_paths import import_path, is_dotted_path


Tool = Callable[..., Any]

TOOLS = {"lab_calculate": "prefix_rft_trl.lab.agent.calculator.calculate"}
OF_ENVIRONMENT = ("reset", "get_reward")  # methods that are no tools (trl/trainer/grpo_trainer.py)


def check_tool_name(name: str) -> None:
    """Raises a ValueError if a name of `tools` is neither registered nor a dotted path; imports nothing."""
    if name not in TOOLS and not is_dotted_path(name):
        raise ValueError(
            f"`tools` has {name!r}, which is no registered tool ({', '.join(TOOLS)}). Name one, or give the dotted "
            "path of a function, such as my_tools.search."
        )


def environment_paths(setting: str | Mapping[str, str]) -> dict[Any, str]:
    """The dotted paths of `environment_factory` by the name of the environment, `None` if there is one for all rows.

    Raises:
        ValueError: naming what is no dotted path; nothing is imported.
    """
    paths: dict[Any, str] = {None: setting} if isinstance(setting, str) else {**setting}
    if not paths:
        raise ValueError("`environment_factory` has no environment. Give it a dotted path, or leave it out.")
    for name, path in paths.items():
        if not (isinstance(path, str) and is_dotted_path(path)):
            raise ValueError(
                f"{_setting(name)} is {path!r:.80}, which is no dotted path. Name a class or a function that makes "
                "environments, such as my_environments.Store."
            )
    return paths


def load_tools(names: Sequence[str]) -> list[Tool]:
    """The functions that `tools` names.

    Args:
        names (`Sequence[str]`): registered names (`TOOLS`), or dotted paths such as `my_tools.search`.

    Raises:
        ValueError: naming a tool that is not there, that a chat template cannot describe, or that is there twice.
    """
    tools = [_load_tool(name) for name in names]
    called = [tool.__name__ for tool in tools]
    if repeated := [name for name in called if called.count(name) > 1]:
        raise ValueError(f"`tools` has two that are called '{repeated[0]}'. Rename one of them, or leave it out.")
    return tools


def load_environments(setting: str | Mapping[str, str]) -> Any:
    """What `environment_factory` names, as [`~trl.GRPOTrainer`] takes it.

    Args:
        setting (`str` or `Mapping`): the dotted path of a class or a function that makes environments, or a mapping
            to such paths from the names that rows have in their column `environment`.

    Raises:
        ValueError: naming what is not there, or what makes no environment.
    """
    found = {name: _load_environment(name, path) for name, path in environment_paths(setting).items()}
    return found.get(None, found)


def check_environment_column(rows: Any, environments: Any) -> None:
    """Raises a ValueError naming the first row whose `environment` is not among several environments by name."""
    if not isinstance(environments, Mapping):
        return
    known = ", ".join(environments)
    if "environment" not in (rows.column_names or ["environment"]):
        raise ValueError(
            f"`environment_factory` names several environments ({known}), and the dataset has no column 'environment' "
            f"that says which one a row has; it has: {', '.join(rows.column_names)}. Add it, or give one dotted path."
        )
    names = rows["environment"] if hasattr(rows, "__len__") else ()
    for row, name in enumerate(names):
        if name not in environments:
            raise ValueError(
                f"Row {row}, column 'environment': {name!r} is not among `environment_factory`: {known}. Correct it, "
                "or add the environment."
            )


def _setting(environment: str | None) -> str:
    return "`environment_factory`" if environment is None else f"`environment_factory`, '{environment}',"


def _load_tool(name: str) -> Tool:
    check_tool_name(name)
    try:
        found = import_path(TOOLS.get(name, name), with_own_files=name not in TOOLS)
    except ImportError as error:
        raise ValueError(
            f"`tools` has {name!r}, which cannot be loaded: {error}. Correct the path, or the file."
        ) from error
    if not inspect.isroutine(found):
        hint = " An environment is named in `environment_factory`." if inspect.isclass(found) else ""
        raise ValueError(f"`tools` has {name!r}, which is {_kind(found)} and no function. Name a function.{hint}")
    check_description(found, f"`tools` has {name!r}, which")
    return found


def _load_environment(name: str | None, path: str) -> Any:
    try:
        found = import_path(path)
    except ImportError as error:
        raise ValueError(
            f"{_setting(name)} is {path!r}, which cannot be loaded: {error}. Correct the path, or the file."
        ) from error
    if not callable(found):
        raise ValueError(
            f"{_setting(name)} is {path!r}, which is {_kind(found)} and makes no environment. Name a class, or a "
            "function that returns an environment."
        )
    if inspect.isclass(found):
        if not callable(getattr(found, "reset", None)):
            raise ValueError(
                f"{_setting(name)} is {path!r}, which has no method `reset`. Give it one that prepares the "
                "environment for a row, whose columns it takes as keywords."
            )
        for method, function in inspect.getmembers(found, inspect.isfunction):
            if method not in OF_ENVIRONMENT and not method.startswith("_"):
                check_description(function.__get__(found), f"{_setting(name)} is {path!r}, whose method `{method}`")
    return found


def check_descriptions(tools: Sequence[Tool]) -> None:
    """Raises a ValueError naming the first of a trainer's `tools` that a chat template cannot describe."""
    for tool in tools:
        check_description(tool, f"`tools` has {getattr(tool, '__name__', tool)!r}, which")


def check_description(function: Tool, where: str) -> None:
    """Raises a ValueError if a chat template cannot describe a tool by its docstring and type hints.

    Args:
        function (`Callable`): the tool.
        where (`str`): the beginning of the message, such as "`tools` has 'search', which".
    """
    from transformers.utils import DocstringParsingException, TypeHintParsingException, get_json_schema

    try:
        get_json_schema(function)
    except (DocstringParsingException, TypeHintParsingException) as error:
        raise ValueError(
            f"{where} cannot be described to the model: {error} Give it type hints, and a docstring with a line for "
            "each argument under 'Args:'."
        ) from error


def _kind(found: Any) -> str:
    return "a class" if inspect.isclass(found) else f"of the type {type(found).__name__}"
