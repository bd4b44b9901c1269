"""Draws that are stable: by share, by order, by subset, by run."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.convert.draws import Purpose, draw
from prefix_rft_trl.utils.hashing import stable_hash


KEYS = st.lists(st.tuples(st.integers(0, 2**64 - 1)), unique=True, max_size=30)


def drawn_keys(count, keys, seed=0, purpose=Purpose.DEMONSTRATED):
    return {keys[index] for index in draw(count, keys, seed, purpose)}


@given(KEYS, st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_a_smaller_draw_is_a_subset_of_a_larger_one(keys, few, more, seed):
    few, more = sorted([few, more])
    small, large = drawn_keys(few, keys, seed), drawn_keys(more, keys, seed)
    assert small <= large
    assert len(large) == min(more, len(keys))


@given(KEYS, st.randoms(use_true_random=False))
def test_neither_order_nor_removed_rows_change_the_ranking(keys, random):
    left = [key for key in random.sample(keys, len(keys)) if random.random() < 0.7]
    assert [key for key in ranking(keys) if key in left] == ranking(left)


def ranking(keys):
    draws = [drawn_keys(count, keys) for count in range(len(keys) + 1)]
    return [key for before, after in pairwise(draws) for key in after - before]


def test_seeds_and_purposes_draw_differently():
    keys = [(stable_hash(f"problem {row}"),) for row in range(100)]
    draws = [drawn_keys(50, keys), drawn_keys(50, keys, seed=1), drawn_keys(50, keys, purpose=Purpose.CORRUPTED)]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert 10 < len(draws[one] & draws[other]) < 40


def test_a_draw_is_the_same_in_every_run():
    assert stable_hash("1+1?") == 7682684029972028730
    keys = [(stable_hash(str(row)),) for row in range(12)]
    assert draw(4, keys, 3, Purpose.CORRUPTED) == {3, 4, 8, 9}
