"""An attribute of an object replaced for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """While it is open, `owner.name` is `value`; then it is what it was, be it the object's own or its class's."""
    of_object = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if of_object is _MISSING:
            delattr(owner, name)  # uncovers what the class has
        else:
            setattr(owner, name, of_object)


_MISSING = object()
