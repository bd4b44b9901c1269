"""What was counted on the way, with an example of each."""

from dataclasses import dataclass, field


@dataclass
class Count:
    number: int
    row: int
    example: str


@dataclass
class Tally:
    """Reasons and how often each was met, with the first row of each.

    Attributes:
        dropped: reasons why rows were dropped.
        left_out: reasons why demonstrations of rows that were kept were left out.
        noted: what is worth knowing of rows that were kept.
    """

    dropped: dict[str, Count] = field(default_factory=dict)
    left_out: dict[str, Count] = field(default_factory=dict)
    noted: dict[str, Count] = field(default_factory=dict)


def count(counts: dict[str, Count], reason: str, row: int, example: str) -> None:
    """Adds one; the example is kept if it is the first of its reason."""
    if reason in counts:
        counts[reason].number += 1
    else:
        counts[reason] = Count(1, row, example)


def total(counts: dict[str, Count]) -> int:
    return sum(entry.number for entry in counts.values())
