"""One text for each setting: the docstring of a dataclass, from which the help of its fields is filled."""

import dataclasses
import inspect
import re
from types import MappingProxyType
from typing import TypeVar


Dataclass = TypeVar("Dataclass", bound=type)

_PARAMETER = re.compile(r"^(?P<indent> *)(?P<names>\w+(?:, \w+)*) \((?P<type>`.+)\):(?P<text>.*)$")
_REFERENCE = re.compile(r"\[`~?(?:\w+\.)*(\w+)`\]")  # [`~trl.GRPOTrainer`]
_SENTENCE = re.compile(r"(?<!e\.g\.)(?<!Dr\.)(?<!Eq\.)(?<=[.!?])\s")


def documented(cls: Dataclass) -> Dataclass:
    """Fills the `help` of a dataclass's own fields from the parameters of its docstring.

    Raises:
        TypeError: if the docstring leaves out a field that the class declares.
    """
    texts = parameter_texts(cls.__doc__ or "")
    own = [field for field in dataclasses.fields(cls) if field.name in inspect.get_annotations(cls)]
    if missing := [field.name for field in own if field.name not in texts]:
        raise TypeError(f"The docstring of {cls.__name__} says nothing about {', '.join(missing)}.")
    for field in own:
        field.metadata = MappingProxyType({**field.metadata, "help": texts[field.name].replace("%", "%%")})
    return cls


def parameter_texts(docstring: str) -> dict[str, str]:
    """The description of each parameter in a docstring, on one line.

    A parameter is a line such as ``name (`int`, *optional*, defaults to `1`):`` with its description behind it or in
    the deeper lines below it; several names that share a description stand between commas.
    """
    texts: dict[str, str] = {}
    names: list[str] = []
    indent = 0
    for line in inspect.cleandoc(docstring).splitlines():
        depth = len(line) - len(line.lstrip())
        if found := _PARAMETER.match(line):
            names, indent = found["names"].split(", "), len(found["indent"])
            texts |= dict.fromkeys(names, found["text"].strip())
        elif line.strip() and depth <= indent:
            names = []
        else:
            texts |= {name: f"{texts[name]} {line.strip()}".strip() for name in names}
    return {name: _REFERENCE.sub(r"`\1`", text) for name, text in texts.items()}


def first_sentence(text: str) -> str:
    """The first sentence of a description, for a list of settings."""
    return _SENTENCE.split(text, maxsplit=1)[0]
