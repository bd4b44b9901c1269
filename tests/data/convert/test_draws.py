from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.convert.corruption import Purpose, drawn, text_key


KEYS = st.lists(st.tuples(st.integers(0, 2**64 - 1)), unique=True, max_size=30)


def keys_drawn(count, keys, seed=0, purpose=Purpose.DEMONSTRATED):
    return {keys[place] for place in drawn(count, keys, seed, purpose)}


@given(KEYS, st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_a_smaller_share_is_part_of_a_larger_one(keys, few, more, seed):
    few, more = sorted([few, more])
    small, large = keys_drawn(few, keys, seed), keys_drawn(more, keys, seed)
    assert small <= large
    assert len(large) == min(more, len(keys))


@given(KEYS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_move_the_draw(keys, random):
    shuffled = random.sample(keys, len(keys))
    assert keys_drawn(len(keys) // 2, keys) == keys_drawn(len(keys) // 2, shuffled)


@given(KEYS, st.randoms(use_true_random=False))
def test_rows_that_are_filtered_out_do_not_move_the_others(keys, random):
    left = [key for key in keys if random.random() < 0.7]
    order, order_left = ranking(keys), ranking(left)
    assert [key for key in order if key in left] == order_left


def ranking(keys):
    ranked, before = [], set()
    for count in range(1, len(keys) + 1):
        now = keys_drawn(count, keys)
        ranked += now - before
        before = now
    return ranked


def test_seeds_and_purposes_draw_differently():
    keys = [(text_key(f"problem {row}"),) for row in range(100)]
    draws = [keys_drawn(50, keys), keys_drawn(50, keys, seed=1), keys_drawn(50, keys, purpose=Purpose.DAMAGED)]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert 10 < len(draws[one] & draws[other]) < 40


def test_a_draw_is_the_same_in_every_run():
    assert text_key("1+1?") == 7682684029972028730
    keys = [(text_key(str(row)),) for row in range(12)]
    assert drawn(4, keys, 3, Purpose.DAMAGED) == {3, 4, 8, 9}
