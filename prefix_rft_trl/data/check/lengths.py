"""Check that rows fit their budgets, and summarize all lengths in a few numbers and a histogram."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prefix_rft_trl.data.texts import excerpt

from .checked_rows import CheckedRow, RowCheck
from .findings import Finding
from .measures import Measure


MAX_BINS = 12


@dataclass(frozen=True)
class Lengths:
    """Summary of lengths.

    Attributes:
        number (`int`): how many texts.
        minimum, median, percentile_95, maximum (`int`): of their lengths.
        bins (`list[tuple[int, int, int]]`): first length, last length and number of texts of each bar.
    """

    number: int
    minimum: int
    median: int
    percentile_95: int
    maximum: int
    bins: list[tuple[int, int, int]]


def summarize(lengths: Sequence[int]) -> Lengths:
    """The summary of one length or more."""
    values = np.asarray(lengths)
    median, percentile_95 = np.quantile(values, [0.5, 0.95], method="nearest")
    return Lengths(
        len(values), int(values.min()), int(median), int(percentile_95), int(values.max()), _histogram(values)
    )


def _histogram(values: np.ndarray) -> list[tuple[int, int, int]]:
    """At most 12 bars of equal, round width: first length, last length, number."""
    width = _round_width(int(values.max() - values.min()) + 1)
    first = int(values.min()) // width
    counts = np.bincount(values // width - first)
    return [((first + bar) * width, (first + bar + 1) * width - 1, int(count)) for bar, count in enumerate(counts)]


def _round_width(span: int) -> int:
    power = 1
    while True:
        for step in (1, 2, 5):
            if span / (step * power) <= MAX_BINS - 1:
                return step * power
        power *= 10


@dataclass(frozen=True)
class Budgets:
    """Room in tokens; `None` where it is unknown.

    Attributes:
        prompt (`int`, *optional*): for a prompt.
        completion (`int`, *optional*): for a completion, and so for a demonstration.
        context (`int`, *optional*): for a prompt and a complete completion together.
    """

    prompt: int | None = None
    completion: int | None = None
    context: int | None = None

    @property
    def prompt_room(self) -> int | None:
        """Room for a prompt, by its own budget and by the context."""
        rest = None if self.context is None else self.context - (self.completion or 0)
        return min((budget for budget in (self.prompt, rest) if budget is not None), default=None)


class LengthCheck(RowCheck):
    """Measures all rows, in characters or in tokens, and compares them with budgets in the same unit.

    Attributes:
        with_prefix (`int`): rows that give a prefix, as far as is known.
    """

    def __init__(self, measure: Measure, budgets: Budgets) -> None:
        self._measure = measure
        self._budgets = budgets
        self._measured: dict[str, list[int]] = {"prompts": [], "demonstrations": []}
        self.with_prefix = 0

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        if row.prompt is None:
            return
        unit, room = self._measure.unit, self._budgets.prompt_room
        try:
            length = self._measure.prompt(row.prompt)
        except ValueError as error:
            yield Finding("prompt_refused", row.number, str(error))
            return
        self._measured["prompts"].append(length)
        if room is not None and length > room:
            yield Finding("prompt_too_long", row.number, f"{length:,} {unit}, {room:,} fit")
        room, has_prefix = self._budgets.completion, not row.demonstrations
        for name, message in row.named_messages():
            try:
                found = self._measure.demonstration(row.prompt, message, row.solution)
            except ValueError as error:
                yield Finding("no_place_for_thinking", row.number, f"{name}: {error}")
                has_prefix = True  # of which nothing is known
                continue
            has_prefix |= found.has_prefix
            self._measured["demonstrations"].append(found.length)
            if found.is_cut:
                note = f"{name} has {found.length:,} {unit} before the first: {excerpt(message['content'])}"
                yield Finding("demonstration_cut", row.number, note)
            if room is not None and found.length > room:
                note = f"{name} has {found.length:,} {unit}, {room:,} fit"
                yield Finding("demonstration_too_long", row.number, note)
        for name, trajectory in row.named_trajectories():
            has_prefix = True
            try:
                length = self._measure.trajectory(row.prompt, trajectory, row.value)
            except ValueError as error:
                yield Finding("turn_refused", row.number, f"{name}: {error}")
                continue
            self._measured["demonstrations"].append(length)
            if room is not None and length > room:
                note = f"{name} has {length:,} {unit} with the results of its tools, {room:,} fit"
                yield Finding("demonstration_too_long", row.number, note)
        if not has_prefix:
            yield Finding("no_prefix", row.number, excerpt(row.demonstrations[0]["content"]))
        self.with_prefix += has_prefix and bool(row.demonstrations)

    @property
    def lengths(self) -> dict[str, Lengths]:
        """Summaries of `prompts` and `demonstrations`, where there are any."""
        return {name: summarize(lengths) for name, lengths in self._measured.items() if lengths}
