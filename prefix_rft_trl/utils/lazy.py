"""Package fronts that import a name on its first use, so that `--help` does not wait for torch."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_front(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and `__dir__` of a package that exports names from its modules.

    Args:
        package (`str`): the package's `__name__`.
        homes (`Mapping[str, str]`): the module that defines each exported name, relative to the package, such as
            `{"PrefixGRPOConfig": ".config"}`.
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(homes)
