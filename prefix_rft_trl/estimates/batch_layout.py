"""Count the positions that a step puts through its model: tokens, and the padding beside them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from .completion_lengths import LengthDistribution


LENGTHS = 1000  # among which the longest is that of the distribution, at least
DRAWN = 16_000  # rows that are laid out, at least
Item = TypeVar("Item")


@dataclass(frozen=True)
class BatchLayout:
    """How the rows that are sampled at a time become forward passes.

    Attributes:
        rows, accumulation (`int`): rows of a forward pass, and passes of a step.
        sampled (`int`): rows that a process has at a time, which train for `sampled / rows * iterations` passes.
        processes (`int`): that wait for each other after each pass.
        group (`int`): rows of a prompt.
        has_own_width (`bool`): whether a pass is as wide as the longest of its rows (`trim_padding`), not of all rows
            that are sampled at a time.
        is_sorted (`bool`): whether a step's rows are sorted by length (`group_rollouts_by_length`).
        left_out (`float`): share of the rows of a group without gradient that are left out of the pass with gradient
            (`skip_zero_weight_rollouts`).
        is_packed (`bool`): whether a pass has no padding at all (`padding_free`).
    """

    rows: int
    accumulation: int
    sampled: int
    processes: int
    group: int
    has_own_width: bool
    is_sorted: bool
    left_out: float
    is_packed: bool

    def positions(self, lengths: LengthDistribution, prompt: float, without_gradient: float = 0.0) -> float:
        """Positions of a forward pass, for each row of its batch, where the process with the most sets the pace.

        Lengths do not depend on the group and its rewards.

        Args:
            lengths (`LengthDistribution`), prompt (`float`): tokens of completions, and of a prompt.
            without_gradient (`float`): share of the groups whose rows are left out, as far as `left_out` says.
        """
        draw, batch = random.Random(0), self.sampled * self.processes
        size = -(-LENGTHS // batch) * batch
        drawn, repeats = lengths.sample(size), -(-DRAWN // size)
        skipped = self._skipped(size, without_gradient)
        total = 0.0
        for _ in range(repeats):
            draw.shuffle(drawn)
            draw.shuffle(skipped)
            rows = [
                (length, not skipped[place // self.group][place % self.group]) for place, length in enumerate(drawn)
            ]
            for together in _parts(rows, batch):
                by_process = [self._passes(draw, own, prompt) for own in _parts(together, self.sampled)]
                total += sum(max(passes) for passes in zip(*by_process, strict=True))
        return total * self.processes / (repeats * size)

    def _skipped(self, size: int, without_gradient: float) -> list[list[bool]]:
        """Whether a row is left out, for each row of each group."""
        groups = -(-size // self.group)
        left_out = round(self.left_out * self.group)
        without = [row < left_out for row in range(self.group)]
        number = round(without_gradient * groups)
        return [without] * number + [[False] * self.group] * (groups - number)

    def _passes(self, draw: random.Random, rows: list[tuple[float, bool]], prompt: float) -> Iterator[float]:
        """Positions of each pass over the rows of a process."""
        longest = max(length for length, _ in rows)
        trained = [length if is_trained else 0.0 for length, is_trained in rows]
        draw.shuffle(trained)
        for window in _parts(trained, min(self.sampled, self.rows * self.accumulation)):
            for batch in _parts(sorted(window) if self.is_sorted else window, self.rows):
                found = [length for length in batch if length]
                width = max(found, default=0.0) if self.has_own_width else longest
                yield sum(found) + len(found) * prompt if self.is_packed else len(found) * (prompt + width)


def _parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
