"""Package fronts whose names are imported when they are first used, so that `--help` does not wait for torch."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_front(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that exports names from its modules.

    Args:
        package (`str`): the package's `__name__`.
        homes (`Mapping[str, str]`): for each exported name the module that defines it, relative to the package, such
            as `{"PrefixGRPOConfig": ".config"}`.
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(homes)
