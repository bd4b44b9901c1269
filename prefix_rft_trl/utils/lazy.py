"""Package fronts that import a name on its first use, so that `--help` does not wait for torch; faster imports."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def lazy_front(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and `__dir__` of a package that exports names of modules: `{"Run": ".run"}`."""

    def get(name: str) -> Any:
        if name in homes:
            with quick_imports():
                return getattr(import_module(homes[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*vars(sys.modules[package]), *homes})


@contextmanager
def quick_imports(freeze: bool = False) -> Iterator[None]:
    """Imports TRL for the first time without Python's search for garbage, which takes a quarter of the time of that.

    Args:
        freeze (`bool`): whether later searches, of which each training asks for several, pass over all objects that
            are there by then. They are never freed: for processes of the command line, which hold nothing of a user.
    """
    missing = {"trl", "trl.trainer.grpo_trainer"} - sys.modules.keys()
    if not missing or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if freeze and missing & sys.modules.keys():
            gc.freeze()
