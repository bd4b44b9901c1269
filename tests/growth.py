"""How the time of a call grows with its text; a machine that is slow, or busy for a moment, changes nothing.

Tests read the names by `runpy`, as those of rewards/hostile_answers.py.
"""

import time
from collections.abc import Callable, Iterable


Call = Callable[[str], object]

FLOOR = 0.01  # seconds, below which a time says nothing
MOST_GROWTH = 8  # of the time from n to 4n: 4 if it is linear, 16 if it grows with the square
TRIES, TRIES_AGAIN = 3, 9


def seconds(call: Call, text: str, tries: int = 1) -> float:
    """Processor time, the least of several tries, of which no one finds what an earlier one has remembered."""
    found = []
    for number in range(tries):
        start = time.thread_time()
        call(f"{text}{number}")
        found.append(time.thread_time() - start)
    return min(found)


def growth(call: Call, text_of: Callable[[int], str], sizes: Iterable[int], tries: int = TRIES) -> float:
    """How many times as long a text takes that is four times as long; 0 if even the longest is read at once.

    It is measured at the first of the sizes that takes long enough.
    """
    for size in sizes:
        if seconds(call, text_of(size)) > FLOOR and (four_n := seconds(call, text_of(size), tries)) > FLOOR:
            n, two_n = (seconds(call, text_of(size * part // 4), tries) for part in (1, 2))
            return min(four_n / n, (four_n / two_n) ** 2)
    return 0


def superlinear_growth(call: Call, text_of: Callable[[int], str], sizes: Iterable[int]) -> float:
    """The growth if it is more than a linear one, measured again with more tries; 0 if it is not."""
    found, sizes = 0.0, tuple(sizes)
    for tries in (TRIES, TRIES_AGAIN):
        found = growth(call, text_of, sizes, tries)
        if found <= MOST_GROWTH:
            return 0
    return found


def superlinear(call: Call, texts: Iterable[tuple[str, str]], sizes: Iterable[int]) -> list[str]:
    """The texts, `before` and many `units`, that take too long; at most one, for each costs seconds."""
    for before, unit in texts:
        found = superlinear_growth(
            call, lambda size, before=before, unit=unit: f"{before}{unit * (size // len(unit))}\0", sizes
        )
        if found:
            return [f"{before!r} and {unit!r} n times: {found:.0f} times as long for 4n"]
    return []
