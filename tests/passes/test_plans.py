"""Plans of passes for any lengths: nothing is lost, nothing is cut that a row uses, and little is padding."""

from itertools import chain, combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prefix_rft_trl.passes.arrangement import TOLERATED_PADDING, arrange, group_sizes
from prefix_rft_trl.passes.batches import joined, picked
from prefix_rft_trl.passes.columns import PassColumns, put_back, row_lengths
from prefix_rft_trl.passes.planning import ForwardPass, RolloutSize, pass_metrics, rows_of_passes


TOTALS = {"total": torch.tensor(7), "nothing": None}
few = settings(max_examples=40)
columns = st.builds(PassColumns, st.integers(1, 6), st.integers(0, 30))
sizes = st.builds(RolloutSize, st.booleans(), st.integers(0, 30), columns)


def positions(groups):
    return sum(len(group) * PassColumns.of_all(group).width for group in groups)


def least_positions(ordered, most_groups, most_rows):
    """Of all ways to cut ordered rows into consecutive groups."""
    places = range(1, len(ordered))
    cuts = ([0, *cut, len(ordered)] for count in range(most_groups) for cut in combinations(places, count))
    all_groups = ([ordered[a:b] for a, b in pairwise(cut)] for cut in cuts)
    return min(positions(groups) for groups in all_groups if max(map(len, groups)) <= most_rows)


@few
@given(st.lists(columns, min_size=1, max_size=8), st.integers(1, 4), st.integers(0, 2))
def test_rows_are_arranged_once_each_and_almost_as_tightly_as_can_be(lengths, rows_per_pass, spare):
    passes = -(-len(lengths) // rows_per_pass) + spare
    plan = arrange(lengths, passes, rows_per_pass)
    assert len(plan) == passes
    assert sorted(row for group in plan for row in group) == list(range(len(lengths)))
    assert max(map(len, plan)) <= rows_per_pass
    groups = [[lengths[row] for row in group] for group in plan]
    assert sorted(map(bool, groups)) == list(map(bool, groups))  # the empty ones first
    widths = [length.width for group in groups for length in group]
    assert widths == sorted(widths, reverse=True)
    ordered = sorted(lengths, key=lambda length: (-length.width, -length.completion))
    assert positions(groups) <= TOLERATED_PADDING * least_positions(ordered, passes, rows_per_pass)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 rows do not fit into 2 passes of 2"):
        group_sizes([PassColumns(1, 1)] * 5, 2, 2)


@few
@given(st.lists(sizes, min_size=1, max_size=6), st.integers(1, 3), st.booleans())
def test_each_micro_batch_keeps_its_number_of_rows(rollouts, passes, by_length):
    rollouts = rollouts * passes
    plan = rows_of_passes(rollouts, passes, by_length)
    assert [len(rows) for rows in plan] == [len(rollouts) // passes] * passes
    order, as_they_were = list(chain(*plan)), list(range(len(rollouts)))
    assert (sorted(order) if by_length else order) == as_they_were
    forward_passes = [ForwardPass.of([rollouts[row] for row in rows]) for rows in plan]
    passed = [plan[index][row] for index, one in enumerate(forward_passes) for row in one.rows]
    assert sorted(passed) == [row for row, rollout in enumerate(rollouts) if rollout.is_trained]
    assert all(0 < one.trained_share <= 1 for one in forward_passes)
    counts = torch.tensor([one.counts(one.columns.width) for one in forward_passes]).sum(dim=0)
    figures = pass_metrics(counts.tolist())
    assert figures["compute/rows"] == pytest.approx(len(passed) / len(rollouts))
    tokens = sum(rollout.tokens for rollout in rollouts)
    assert figures["compute/tokens"] == pytest.approx(sum(rollouts[row].tokens for row in passed) / max(1, tokens))
    assert 0 <= figures["compute/padding"] < 1


@few
@given(st.data())
def test_columns_that_a_row_uses_are_cut_out_and_put_back(data):
    rows, prompt, completion = (data.draw(st.integers(1, most)) for most in (5, 6, 7))
    number = rows * (prompt + completion)
    bits = data.draw(st.lists(st.booleans(), min_size=number, max_size=number))
    mask = torch.tensor(bits).view(rows, -1).long()
    whole = PassColumns(prompt, completion)
    lengths = [PassColumns(*row) for row in row_lengths(mask, completion).tolist()]
    for bits_of_row, length in zip(mask.bool().tolist(), lengths, strict=True):
        before, after = bits_of_row[:prompt], bits_of_row[prompt:]
        assert length.prompt == len(before) - (before.index(True) if True in before else len(before))
        assert length.completion == max((place + 1 for place, used in enumerate(after) if used), default=0)
    some = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, unique=True))
    own = PassColumns.of_all(lengths[row] for row in some).rounded(data.draw(st.sampled_from([None, 2, 4])), whole)
    assert 1 <= own.prompt <= prompt
    assert 1 <= own.completion <= completion
    cut = own.cut(mask[some], whole)
    assert cut.shape == (len(some), own.width)
    assert cut.sum() == mask[some].sum()
    found = put_back([cut[:, own.prompt :]], some, (rows, completion))
    expected = torch.zeros_like(mask)
    expected[some] = mask[some]
    assert torch.equal(found, expected[:, prompt:])


@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_batches_are_joined_and_picked_apart_row_by_row(numbers, draws):
    batches = [
        {"ids": torch.rand(number, 2), "names": [f"{place}.{row}" for row in range(number)], **TOTALS}
        for place, number in enumerate(numbers)
    ]
    rows = joined(batches)
    assert rows["names"] == [name for batch in batches for name in batch["names"]]
    assert rows["total"] == 7
    assert rows["nothing"] is None
    order = list(range(sum(numbers)))
    draws.shuffle(order)
    found = picked(rows, order)
    assert found["names"] == [rows["names"][row] for row in order]
    assert torch.equal(found["ids"], rows["ids"][order])
    assert found["total"] == 7
