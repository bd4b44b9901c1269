"""The beginning that texts or lists share."""

from itertools import takewhile
from typing import Any, TypeVar


Items = TypeVar("Items", str, list[Any])


def shared_start(first: Items, *others: Items) -> Items:
    """The longest beginning of the first that all others have."""
    are_equal = (len(set(items)) == 1 for items in zip(first, *others, strict=False))
    return first[: sum(takewhile(bool, are_equal))]
