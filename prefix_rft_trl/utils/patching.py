"""Temporary replacement of an attribute."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


_MISSING = object()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets `owner.name` to `value` while the block runs, then restores it, be it the object's own or its class's."""
    before = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            delattr(owner, name)  # uncovers the class's attribute
        else:
            setattr(owner, name, before)
