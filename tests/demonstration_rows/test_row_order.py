"""Which rows of a second dataset a step trains: each once an epoch, whatever the processes and micro-batches."""

import hypothesis
import numpy as np
from hypothesis import strategies as st

from prefix_rft_trl.demonstration_rows.row_order import choice_at, first_position, positions_of, row_at


sizes = st.integers(1, 4)


@hypothesis.given(rows=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 5))
def test_each_row_is_drawn_once_in_an_epoch(rows, seed, epoch):
    positions = range(epoch * rows, (epoch + 1) * rows)
    found = [row_at(position, rows, seed) for position in positions]
    assert found == np.random.default_rng((seed, epoch)).permutation(rows).tolist()
    assert [row_at(position, rows, seed) for position in reversed(positions)] == found[::-1]


def test_order_depends_on_seed_and_epoch():
    orders = {
        tuple(row_at(epoch * 30 + place, 30, seed) for place in range(30)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


@hypothesis.given(batches=st.integers(0, 6), micro=sizes, rows=sizes, processes=sizes, iterations=sizes)
def test_processes_and_micro_batches_share_one_sequence(batches, micro, rows, processes, iterations):
    found = []
    for batch in range(batches):
        for micro_step in (batch * micro * iterations, (batch + 1) * micro * iterations - 1):
            first = first_position(micro_step, micro, iterations, rows * processes)
            assert first == len(found)
        of_processes = [positions_of(first, micro, rows, process, processes) for process in range(processes)]
        found += [place for parts in zip(*of_processes, strict=True) for part in parts for place in part]
    assert found == list(range(batches * micro * rows * processes))


def test_every_demonstration_of_a_row_is_drawn():
    assert {choice_at(position, 3, 0) for position in range(30)} == {0, 1, 2}
    assert {choice_at(position, 1, 0) for position in range(30)} == {0}
