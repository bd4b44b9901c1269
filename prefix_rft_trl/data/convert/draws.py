"""Seeded draws that depend on a problem's text alone, not on its row or on the other problems."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np


Key = tuple[int, ...]


class Purpose(IntEnum):
    """Purpose of a draw; draws for different purposes are independent."""

    DEMONSTRATED = 1
    CORRUPTED = 2
    CORRUPTION = 3
    HELD_OUT = 4


def generator(seed: int, purpose: Purpose, key: Key) -> np.random.Generator:
    """Random numbers for one problem or demonstration and one purpose."""
    return np.random.default_rng((seed, purpose, *key))


def draw(count: int, keys: Sequence[Key], seed: int, purpose: Purpose) -> set[int]:
    """Indices of `count` of the keys, or of all if there are fewer.

    A smaller draw is a subset of a larger one, and keys that are added or removed do not change the order of the
    others.
    """
    values = [generator(seed, purpose, key).random() for key in keys]
    return set(sorted(range(len(keys)), key=values.__getitem__)[:count])
