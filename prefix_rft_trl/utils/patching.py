"""Temporary replacement of an attribute."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


_MISSING = object()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets `owner.name` to `value` while the block runs, then restores it, be it the object's own or its class's.

    An object that forwards its attributes to another one, as the module of `torch.compile` does, is changed itself:
    the other is left as it is.
    """
    if _is_set_by_class(owner, name):
        before = vars(owner).get(name, _MISSING) if isinstance(owner, type) else getattr(owner, name, _MISSING)
        setattr(owner, name, value)
        try:
            yield
        finally:
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        return
    own = vars(owner)
    before = own.get(name, _MISSING)
    own[name] = value
    try:
        yield
    finally:
        own.pop(name, None)  # uncovers the class's attribute, or the one that is forwarded
        if before is not _MISSING:
            own[name] = before


def _is_set_by_class(owner: Any, name: str) -> bool:
    """Whether the attribute cannot be set in the object's own dictionary: of a class, a slot, or a property."""
    if isinstance(owner, type) or not hasattr(owner, "__dict__"):
        return True
    return hasattr(inspect.getattr_static(type(owner), name, None), "__set__")
