"""Count the positions that a step puts through its model: tokens, and the padding beside them."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import gcd
from typing import TypeVar

from prefix_rft_trl.passes.arrangement import arrange
from prefix_rft_trl.passes.columns import PassColumns

from .completion_lengths import LengthDistribution


LENGTHS = 1000  # among which the longest is that of the distribution, at least
DRAWN = 16_000  # rows that are laid out, at least
Item = TypeVar("Item")
Row = tuple[int, bool]  # tokens of its completion, and whether it is trained
Passes = Iterator[list[int]]  # tokens of the completions of each pass


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
        is_grouped (`bool`): whether rows of a step that are similarly long go together (`group_rollouts_by_length`).
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
    is_grouped: bool
    left_out: float
    is_packed: bool

    def trained_positions(self, lengths: LengthDistribution, prompt: float, without_gradient: float) -> float:
        """Positions of the passes with gradient, for each row, where the process with the most sets the pace.

        Lengths do not depend on the group and its rewards.

        Args:
            lengths (`LengthDistribution`), prompt (`float`): tokens of completions, and of a prompt.
            without_gradient (`float`): share of the groups whose rows are left out, as far as `left_out` says.
        """
        return self._positions(lengths, prompt, without_gradient, self._trained_passes)

    def scored_positions(self, lengths: LengthDistribution, prompt: float) -> float:
        """Positions of the passes over what is sampled at a time, for each row, as `trained_positions`."""
        return self._positions(lengths, prompt, 0.0, self._scored_passes)

    def _positions(
        self,
        lengths: LengthDistribution,
        prompt: float,
        without_gradient: float,
        passes_of: Callable[[list[Row], float, random.Random], Passes],
    ) -> float:
        draw, batch = random.Random(0), self.sampled * self.processes
        size = -(-LENGTHS // batch) * batch
        drawn, repeats = lengths.sample(size), -(-DRAWN // size)
        groups, total = self._groups(size, without_gradient), 0.0
        for _ in range(repeats):
            draw.shuffle(drawn)
            draw.shuffle(groups)
            are_trained = (is_trained for group in groups for is_trained in group)
            rows = list(zip(drawn, are_trained, strict=False))
            for together in _parts(rows, batch):
                by_process = [
                    [self._positions_of_pass(found, prompt, own) for found in passes_of(own, prompt, draw)]
                    for own in _parts(together, self.sampled)
                ]
                total += sum(map(max, zip(*by_process, strict=True)))
        return total * self.processes / (repeats * size)

    def _groups(self, size: int, without_gradient: float) -> list[list[bool]]:
        """Whether a row is trained, for each row of each group."""
        number = -(-size // self.group)
        left_out = round(self.left_out * self.group)
        without, most = round(without_gradient * number), [True] * (self.group - left_out)
        return [[False] * left_out + most] * without + [[True] * self.group] * (number - without)

    def _trained_passes(self, rows: list[Row], prompt: float, draw: random.Random) -> Passes:
        rows, together = draw.sample(rows, len(rows)), gcd(self.accumulation, self.sampled // self.rows)
        for window in _parts(rows, together * self.rows):
            if self.is_grouped:
                trained = [length for length, is_trained in window if is_trained]
                columns = [PassColumns(round(prompt), length) for length in trained]
                yield from ([trained[row] for row in part] for part in arrange(columns, together, self.rows))
            else:
                for part in _parts(window, self.rows):
                    yield [length for length, is_trained in part if is_trained]

    def _scored_passes(self, rows: list[Row], prompt: float, draw: random.Random) -> Passes:
        lengths = [length for length, _ in rows]
        return _parts(sorted(lengths, reverse=True) if self.has_own_width else lengths, self.rows)

    def _positions_of_pass(self, lengths: list[int], prompt: float, rows: list[Row]) -> float:
        """
        Args:
            lengths (`list[int]`): of the pass.
            rows (`list[Row]`): that are sampled at a time.
        """
        if self.is_packed:
            return sum(lengths) + len(lengths) * prompt
        width = max(lengths, default=0) if self.has_own_width else max(rows)[0]
        return len(lengths) * (prompt + width)


def _parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
