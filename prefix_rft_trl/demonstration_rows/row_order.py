"""Which rows of a second dataset a step trains.

Rows have positions in one endless sequence: an order of all rows, drawn from (seed, epoch), after the other. What is
at a position depends on nothing else, so several processes take the rows that one would, and a resumed run goes on
where it was.
"""

from functools import lru_cache

import numpy as np


def row_at(position: int, rows: int, seed: int) -> int:
    """The row at a position, of `rows` rows: each of them once in `rows` positions."""
    epoch, place = divmod(position, rows)
    return int(_order(rows, seed, epoch)[place])


@lru_cache(maxsize=2)
def _order(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(rows)


def choice_at(position: int, number: int, seed: int) -> int:
    """One of the demonstrations of the row at a position, of `number`."""
    return int(np.random.default_rng((seed, position, 1)).integers(number)) if number > 1 else 0


def first_position(micro_step: int, steps_per_batch: int, iterations: int, rows: int) -> int:
    """Position of the first row of a generation batch.

    Args:
        micro_step (`int`): micro-steps done so far.
        steps_per_batch (`int`): micro-batches of a generation batch.
        iterations (`int`): how often each generation batch is trained.
        rows (`int`): of a micro-batch, over all processes.
    """
    return micro_step // (steps_per_batch * iterations) * steps_per_batch * rows


def positions_of(first: int, micro_batches: int, rows: int, process: int, processes: int) -> list[list[int]]:
    """Positions of the rows of each micro-batch of one process; those of all processes follow each other.

    Args:
        first (`int`): position of the first row of all.
        micro_batches (`int`): of the generation batch.
        rows (`int`): of a micro-batch, in each process.
        process, processes (`int`): index of this process, and their number.
    """
    starts = range(first + process * rows, first + micro_batches * processes * rows, processes * rows)
    return [list(range(start, start + rows)) for start in starts[:micro_batches]]
