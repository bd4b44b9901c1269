"""Which rows share a pass, against all ways to divide them."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.passes.arrangement import arrange, group_sizes
from prefix_rft_trl.passes.columns import PassColumns
from prefix_rft_trl.passes.planning import RolloutSize, rows_of_passes


sides = st.builds(PassColumns, st.integers(1, 9), st.integers(1, 30))


def positions(lengths, groups):
    return sum(
        len(group) * (max(lengths[row].prompt for row in group) + max(lengths[row].completion for row in group))
        for group in groups
        if group
    )


def consecutive_groups(rows, most_groups, most_rows):
    for groups in range(1, most_groups + 1):
        for cuts in combinations(range(1, rows), groups - 1):
            ends = [0, *cuts, rows]
            parts = [list(range(*pair)) for pair in pairwise(ends)]
            if max(map(len, parts)) <= most_rows:
                yield parts


@given(st.lists(sides, min_size=1, max_size=7), st.integers(1, 4), st.integers(1, 4))
def test_groups_hold_each_row_once_and_little_padding(lengths, passes, rows_per_pass):
    if len(lengths) > passes * rows_per_pass:
        with pytest.raises(ValueError, match="do not fit"):
            arrange(lengths, passes, rows_per_pass)
        return
    groups = arrange(lengths, passes, rows_per_pass)
    assert len(groups) == passes
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    assert max(map(len, groups)) <= rows_per_pass
    assert groups == sorted(groups, key=bool)  # those without rows come first
    order = [row for group in groups for row in group]
    widths = [lengths[row].width for row in order]
    assert widths == sorted(widths)
    in_order = [lengths[row] for row in order]
    least = {
        number: min(
            (positions(in_order, parts) for parts in consecutive_groups(len(order), number, rows_per_pass)),
            default=float("inf"),
        )
        for number in range(1, passes + 1)
    }
    used = sum(map(bool, groups))
    assert positions(lengths, groups) <= 1.05 * least[passes]
    assert used == 1 or least[used - 1] > 1.05 * least[passes]  # and no pass more than that takes


def test_no_rows_are_no_groups():
    assert group_sizes([], 3, 2) == []
    assert arrange([], 3, 2) == [[], [], []]


@pytest.mark.parametrize("by_length", [True, False])
@given(st.lists(st.builds(RolloutSize, st.booleans(), st.integers(0, 9), sides), min_size=6, max_size=6))
def test_micro_batches_keep_their_number_of_rows(by_length, sizes):
    parts = rows_of_passes(sizes, 3, by_length)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert sorted(row for part in parts for row in part) == list(range(6))
    if not by_length:
        assert parts == [[0, 1], [2, 3], [4, 5]]
