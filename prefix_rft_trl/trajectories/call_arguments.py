"""Compare the arguments of tool calls with what their tools take, as the chat template describes them."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any


Tool = Callable[..., Any] | dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


def described(tool: Tool) -> dict[str, Any]:
    """Name, description and parameters of a tool, a function or its JSON schema, as a chat template gets them.

    Raises:
        ValueError: if a function lacks the type hints or the docstring for that.
    """
    if isinstance(tool, dict):
        return tool.get("function") or tool
    from transformers.utils import DocstringParsingException, TypeHintParsingException, get_json_schema

    try:
        return get_json_schema(tool)["function"]
    except (DocstringParsingException, TypeHintParsingException) as error:
        raise ValueError(f"the tool '{tool.__name__}' cannot be described to the model: {error}") from error


def schemas_of_column(value: Any) -> list[dict[str, Any]] | None:
    """The JSON schemas in the column `tools` of a row, as TRL's SFT takes them; `None` if there are none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
        return None
    schemas = [_filled(item) for item in value]
    named = all(isinstance((schema.get("function") or schema).get("name"), str) for schema in schemas)
    return schemas if named else None


def _filled(value: Any) -> Any:
    """Without the keys that `datasets` has filled with `None`."""
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def argument_faults(arguments: Mapping[str, Any], description: Mapping[str, Any]) -> Iterator[str]:
    """What does not fit about the arguments of a call: one missing, one too many, one of another type or value.

    Args:
        arguments (`Mapping`): of the call.
        description (`Mapping`): of its tool, from [`described`].
    """
    parameters = description.get("parameters") or {}
    properties = parameters.get("properties") or {}
    for name in parameters.get("required") or ():
        if name not in arguments:
            yield f"'{name}' is missing"
    for name, value in arguments.items():
        if name not in properties:
            known = ", ".join(properties) or "none"
            yield f"'{name}' is not among its parameters ({known})"
        elif fault := _value_fault(value, properties[name]):
            yield f"'{name}' {fault}"


def _value_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    named = schema.get("type")
    names = [named] if isinstance(named, str) else [name for name in named or () if isinstance(name, str)]
    types = tuple(kind for name in names for kind in _TYPES.get(name, (object,)))
    is_truth = isinstance(value, bool) and bool not in types and object not in types  # which is an int to Python
    if types and (is_truth or not isinstance(value, types)):
        return f"is {value!r:.40}, which is no {' or '.join(names)}"
    choices = schema.get("enum")
    if choices and value not in choices:
        return f"is {value!r:.40}, which is none of {', '.join(map(repr, choices))}"
    return None
