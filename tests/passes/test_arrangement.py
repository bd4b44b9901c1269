"""Which rows share a pass, against all ways to divide them."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.passes.arrangement import arrange, group_sizes
from prefix_rft_trl.passes.columns import PassColumns
from prefix_rft_trl.passes.planning import MicroBatchPlan, RolloutSize, rows_of_passes


sides = st.builds(PassColumns, st.integers(1, 9), st.integers(1, 30))
rollout_sizes = st.builds(
    lambda is_trained, tokens, columns: RolloutSize(is_trained, tokens, columns.width, columns),
    st.booleans(),
    st.integers(0, 9),
    sides,
)


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


@pytest.mark.parametrize("by_length", [True, False])
@given(st.lists(rollout_sizes, min_size=6, max_size=6))
def test_micro_batches_keep_their_number_of_rows(by_length, sizes):
    parts = rows_of_passes(sizes, 3, by_length)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert sorted(row for part in parts for row in part) == list(range(6))
    if not by_length:
        assert parts == [[0, 1], [2, 3], [4, 5]]


@given(st.lists(rollout_sizes, min_size=1, max_size=6))
def test_a_plan_passes_each_trained_row_once(sizes):
    plan = MicroBatchPlan.of(sizes, most_parts=2)
    assert sorted(plan.rows) == [row for row, size in enumerate(sizes) if size.is_trained]
    assert len(plan.parts) <= 2
    for part in plan.parts:
        assert part.columns.prompt == max(sizes[row].columns.prompt for row in part.rows)
        assert part.columns.completion == max(sizes[row].columns.completion for row in part.rows)
    rows, all_rows, tokens, all_tokens, used, passed = plan.counts(is_packed=False)
    assert (rows, all_rows) == (len(plan.rows), len(sizes))
    assert (tokens, all_tokens) == (sum(s.tokens for s in sizes if s.is_trained), sum(s.tokens for s in sizes))
    assert used == sum(size.columns.width for size in sizes if size.is_trained) <= passed
    assert passed == sum(len(part.rows) * part.columns.width for part in plan.parts)
    assert plan.counts(is_packed=True)[4:] == [used, used]
    assert plan.trained_share == max(tokens, 1) / max(all_tokens, 1)
