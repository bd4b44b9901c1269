"""Check the types of settings against the hints of their dataclass."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import date
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import nearest


# What the libraries take beyond their hints
WIDER_HINTS: dict[str, Any] = {
    "scale_rewards": bool | str,
    "reward_funcs": list[str] | str | None,
    "tools": list[str] | str | None,
    "eval_benchmarks": list[str] | str | None,
    "lora_target_modules": list[str] | str | None,
    "lora_target_parameters": list[str] | str | None,
    "debug": str | list | None,  # None is what the parser makes of it
    "fsdp": bool | str | list[str] | None,
    "resume_from_checkpoint": str | bool | None,
}
FILE_SETTINGS = ("accelerator_config", "deepspeed", "fsdp_config")  # text that is no JSON is the path of a file
PATH_SETTINGS = ("environment_factory",)  # text that is no JSON is a dotted path
MOST_LISTED = 16
_PLAIN_NAMES = re.compile(r"[\w.,\s-]+")  # other text is a regular expression or the path of a file
_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "text", list: "a list", dict: "a mapping"}


def check_types(settings_class: type, values: Mapping[str, Any]) -> None:
    """Check that values have the types of a dataclass's fields.

    Args:
        settings_class (`type`): a dataclass.
        values (`Mapping`): values by setting; those that are no field of the dataclass are left alone.

    Raises:
        ValueError: naming the first setting with another type, what was found, and the fix.
    """
    hints = type_hints(settings_class)
    for field in fields(settings_class):
        if field.name in values:
            hint, value = hints[field.name], values[field.name]
            check_type(field.name, hint, value, None if field.default is MISSING else field.default)
            if value is not None and "choices" in field.metadata:
                check_known(field.name, value, field.metadata["choices"])


def check_type(name: str, hint: Any, value: Any, default: Any = None) -> None:
    """Check the value of one setting. A default serves as an example in the message."""
    if getattr(value, "ndim", None) == 0:  # a number of numpy
        value = value.item()
    hint = WIDER_HINTS.get(name, hint)
    kinds = [kind for kind in _alternatives(hint) if kind is not NoneType]
    if not _accepts(hint, value):
        expected = " or ".join(dict.fromkeys(_expectation(kind) for kind in kinds))
        raise ValueError(f"`{name}` takes {expected}, found {_description(value)}. {_remedy(value, kinds, default)}")
    if list[str] in kinds:
        _check_separation(name, value if isinstance(value, list | tuple) else [value])
    if choices_of(hint) and isinstance(value, str):
        check_known(name, value, choices_of(hint))
    if isinstance(value, str) and dict in map(_base, kinds):
        _check_mapping_text(name, value)


def check_known(name: str, value: Any, known: Iterable[str]) -> None:
    """Check that a value is one of those that a setting has.

    Raises:
        ValueError: naming the setting, the value and those that it resembles, or all.
    """
    known = [str(choice) for choice in known]
    if value not in known:
        hint = nearest(str(value), known, 3)
        if len(known) <= MOST_LISTED:
            hint = f" Known: {', '.join(known)}.{hint}"
        elif not hint:
            hint = f" The documentation of `{name}` lists those that there are."
        raise ValueError(f"Unknown `{name}`: {value!r}.{hint}")


@cache
def type_hints(settings_class: type) -> dict[str, Any]:
    return get_type_hints(settings_class)


def choices_of(hint: Any) -> list[str]:
    """The texts that a setting can be, if an enumeration is among its types."""
    return [
        member.value
        for kind in _alternatives(hint)
        if isinstance(kind, type) and issubclass(kind, Enum)
        for member in kind
    ]


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _base(hint: Any) -> Any:
    return get_origin(hint) or hint


def _accepts(hint: Any, value: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_accepts(alternative, value) for alternative in get_args(hint))
    kind = _base(hint)
    if kind is Any:
        return True
    if kind is Literal:
        return any(value is literal or (value == literal and value is not False) for literal in get_args(hint))
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float) and value == value  # nan is no number
    if kind is str:
        return isinstance(value, str | os.PathLike)
    if kind is list:
        items = get_args(hint) or (Any,)
        return isinstance(value, list | tuple) and all(_accepts(items[0], item) for item in value)
    if kind is dict:  # or an object that has been made of it
        return isinstance(value, Mapping) or not isinstance(value, NoneType | int | float | str | list | tuple | date)
    return isinstance(value, kind)


def _expectation(hint: Any) -> str:
    kind = _base(hint)
    if kind is Literal:
        return " or ".join(json.dumps(literal) for literal in get_args(hint))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _NAMES[str]
    if kind is list and get_args(hint):
        return "a list of " + {str: "texts", float: "numbers"}.get(get_args(hint)[0], "values")
    return _NAMES.get(kind, f"a {getattr(kind, '__name__', kind)}")


def _description(value: Any) -> str:
    shown = f"{value!r:.80}"
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return shown
        case str():
            return f"the text {shown}" if value else "an empty text"
        case list() | tuple():
            return f"a list: {shown}" if value else "an empty list"
        case Mapping():
            return f"a mapping: {shown}" if value else "an empty mapping"
        case date():
            return f"the date {value}"
    return f"{type(value).__name__}: {shown}"


def _remedy(value: Any, kinds: list[Any], default: Any) -> str:
    if value is None:
        return "Give it a value, or leave the setting out."
    if str in kinds and isinstance(value, bool):
        return "YAML reads the words yes, no, on and off as true and false: put the word in quotes."
    if str in kinds and isinstance(value, int | float | date):
        return "Put it in quotes."
    if list[str] in kinds and isinstance(value, list | tuple):
        return "Put each item in quotes."
    if isinstance(value, str) and any(_is_literal(value, kind) for kind in kinds):
        return "Leave out the quotes."
    example = getattr(default, "value", default)
    if example is None or not isinstance(example, bool | int | float | str) or example == "":
        return "Give it one, or leave the setting out."
    return f"Its default is {str(example).lower() if isinstance(example, bool) else example}."


def _is_literal(text: str, kind: Any) -> bool:
    if kind is bool:
        return text.lower() in ("true", "false")
    try:
        return kind in (int, float) and kind(text) == kind(text)
    except ValueError:
        return False


def _check_separation(name: str, items: Iterable[Any]) -> None:
    for item in items:
        if isinstance(item, str) and "," in item and _PLAIN_NAMES.fullmatch(item):
            names = ", ".join(part.strip() for part in item.split(",") if part.strip())
            raise ValueError(
                f"`{name}` takes names without commas, found {item!r}. On the command line separate them by spaces; "
                f"in a recipe write a list, such as [{names}]."
            )


def _check_mapping_text(name: str, text: str) -> None:
    if name in PATH_SETTINGS and not text.startswith("{"):
        return
    if name in FILE_SETTINGS and not text.startswith("{"):
        if not os.path.isfile(text):
            raise ValueError(f"`{name}` takes a mapping or the path of a JSON file, and there is no file {text!r}.")
        return
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"`{name}` takes a mapping or a JSON object, such as '{{\"name\": 1}}', found {text!r:.60}.")
