"""Which rows share a pass, against all ways to divide them."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.passes.arrangement import arrange, group_sizes
from prefix_rft_trl.passes.columns import PassColumns


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


def least_positions(order, most_groups, most_rows):
    divided = consecutive_groups(len(order), most_groups, most_rows)
    return min((positions(order, parts) for parts in divided), default=float("inf"))


def by_completion(row):
    return row.completion, row.prompt


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
    found = [lengths[row] for group in groups for row in group]
    orders = [sorted(lengths, key=lambda row: (row.width, row.completion)), sorted(lengths, key=by_completion)]
    assert found in orders
    used = sum(map(bool, groups))
    for order in orders:
        assert positions(lengths, groups) <= 1.05 * least_positions(order, passes, rows_per_pass)
    # and no pass more than that takes
    assert used == 1 or least_positions(found, used - 1, rows_per_pass) > 1.05 * least_positions(
        found, passes, rows_per_pass
    )


def test_no_rows_are_no_groups():
    assert group_sizes([], 3, 2) == []
    assert arrange([], 3, 2) == [[], [], []]
