"""Random choices that depend on the seed and on the problem alone: not on the order of rows, nor on other rows."""

from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b

import numpy as np


class Purpose(IntEnum):
    """What is drawn: draws for one purpose tell nothing about those for another."""

    DEMONSTRATED = 1
    DAMAGED = 2
    DAMAGE = 3


Key = tuple[int, ...]


def text_key(text: str) -> int:
    """A number from 0 to 2**64 - 1 that stands for a text, in every run."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def generator(seed: int, purpose: Purpose, key: Key) -> np.random.Generator:
    """The random numbers of one problem, or of one of its demonstrations, for one purpose."""
    return np.random.default_rng((seed, purpose, *key))


def drawn(count: int, keys: Sequence[Key], seed: int, purpose: Purpose) -> set[int]:
    """Places of `count` of the keys, or of all if there are fewer.

    Those of a smaller count are among those of a larger one, and keys that join or leave do not move the others'
    order.
    """
    draws = [generator(seed, purpose, key).random() for key in keys]
    return set(sorted(range(len(keys)), key=draws.__getitem__)[:count])
