"""Find whether the scorer of a task may evaluate text: read the source of all that it reaches.

What a scorer calls is either of its own library, whose source is read in turn, or of a library that does nothing with
text but compare and convert it. Everything else counts as an evaluator, also what is not known.
"""

import ast
import builtins
import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import FunctionType, ModuleType
from typing import Any


LIBRARY = "reasoning_gym"
HARMLESS_MODULES = {
    "abc", "builtins", "calendar", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "itertools", "json", "logging", "magiccube", "math", "numpy", "operator", "random", "re", "string",
    "typing", "unicodedata", "warnings", "zss",
}  # fmt: skip
# Of those modules: functions that run text, look names up, or read and write files
EVALUATORS = {
    *(f"builtins.{name}" for name in ("__import__", "breakpoint", "compile", "delattr", "eval", "exec", "getattr")),
    *(f"builtins.{name}" for name in ("globals", "input", "locals", "setattr", "vars")),
    *(f"numpy.{name}" for name in ("fromfile", "fromregex", "genfromtxt", "load", "loadtxt", "memmap", "save")),
    *(f"numpy.{name}" for name in ("savetxt", "savez", "savez_compressed")),
    "operator.attrgetter",
    "operator.methodcaller",
}


def find_evaluators(task: Any) -> set[str]:
    """Names of the functions in the reach of a task's scorer that may evaluate text, or of which nothing is known."""
    return set(_Reach(task).evaluators_of(type(task).score_answer))


class _Reach:
    """All functions that a task's scorer may call, each read once."""

    def __init__(self, task: Any):
        self.task = task
        self.seen: set[Any] = set()

    def evaluators_of(self, found: Any) -> Iterator[str]:
        found = getattr(found, "__func__", found)
        if isinstance(found, dict | list | tuple):
            for inner in found.values() if isinstance(found, dict) else found:
                yield from self.evaluators_of(inner) if callable(inner) else ()
        elif isinstance(found, FunctionType | type) and _library(found) == LIBRARY:
            if found not in self.seen:
                self.seen.add(found)
                for function in _functions_of(found):
                    yield from self._evaluators_in(function)
        elif callable(found):
            name = f"{_module(found)}.{getattr(found, '__qualname__', found)}"
            if _library(found) not in HARMLESS_MODULES or name in EVALUATORS:
                yield name.removeprefix("builtins.")

    def _evaluators_in(self, function: FunctionType) -> Iterator[str]:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError):
            yield f"{function.__qualname__}, whose source is not there"
            return
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    yield from (one.name for one in names if one.name.partition(".")[0] not in HARMLESS_MODULES)
                case ast.ImportFrom(module=module, level=level, names=names):
                    package = function.__module__.rpartition(".")[0] if level else None
                    source = importlib.import_module("." * level + (module or ""), package)
                    for one in names:
                        yield from self.evaluators_of(getattr(source, one.name))
                case ast.Attribute(attr="format_map") | ast.Attribute(value=ast.Name(), attr="format"):
                    yield "str.format"
                case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                    found = self._resolve(node, function)
                    if not isinstance(found, ModuleType):
                        yield from self.evaluators_of(found)

    def _resolve(self, node: ast.AST, function: FunctionType) -> Any:
        """What a name or a dotted path means in a function; `None` for what only a call knows, such as a variable."""
        match node:
            case ast.Name(id=name):
                return function.__globals__.get(name, getattr(builtins, name, None))
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                return getattr(self.task, name, None)
            case ast.Attribute(value=value, attr=name):
                owner = self._resolve(value, function)
                return getattr(owner, name, None) if isinstance(owner, ModuleType | type) else None
        return None


def _module(found: Any) -> str:
    return getattr(found, "__module__", None) or getattr(found, "__objclass__", object).__module__


def _library(found: Any) -> str:
    return _module(found).partition(".")[0]


def _functions_of(found: Any) -> Iterator[FunctionType]:
    """A function, or those of a class and its bases, without what `dataclass` has made."""
    if isinstance(found, FunctionType):
        yield found
        return
    for owner in found.__mro__:
        for function in vars(owner).values() if _library(owner) == LIBRARY else ():
            function = getattr(function, "__func__", getattr(function, "fget", function))
            if isinstance(function, FunctionType):
                is_made = (
                    is_dataclass(owner) and function.__code__.co_filename != sys.modules[owner.__module__].__file__
                )
                yield from () if is_made else (function,)
