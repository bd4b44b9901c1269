"""What a plan counts, and the batches that it makes, for any rows."""

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prefix_rft_trl.passes.batches import joined, picked
from prefix_rft_trl.passes.columns import PassColumns
from prefix_rft_trl.passes.planning import MicroBatchPlan, RolloutSize, pass_metrics, rows_of_passes


TOTALS = {"total": torch.tensor(7), "nothing": None}
few = settings(max_examples=40)
columns = st.builds(PassColumns, st.integers(1, 6), st.integers(0, 30))
sizes = st.builds(
    lambda is_trained, tokens, own: RolloutSize(is_trained, tokens, own.width, own),
    st.booleans(),
    st.integers(0, 30),
    columns,
)


@few
@given(st.lists(sizes, min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 2), st.booleans())
def test_every_trained_row_is_counted_once(rollouts, passes, most_parts, by_length):
    rollouts = rollouts * passes
    order = rows_of_passes(rollouts, passes, by_length)
    plans = [MicroBatchPlan.of([rollouts[row] for row in rows], most_parts) for rows in order]
    passed = list(chain(*([rows[place] for place in plan.rows] for rows, plan in zip(order, plans, strict=True))))
    assert sorted(passed) == [row for row, rollout in enumerate(rollouts) if rollout.is_trained]
    counts = torch.tensor([plan.counts(is_packed=False) for plan in plans]).sum(dim=0)
    figures = pass_metrics(counts.tolist())
    assert figures["compute/rows"] == pytest.approx(len(passed) / len(rollouts))
    trained, tokens = (sum(rollouts[row].tokens for row in rows) for rows in (passed, range(len(rollouts))))
    assert figures["compute/tokens"] == pytest.approx(trained / max(1, tokens))
    assert ("compute/padding" in figures) == bool(passed)
    assert 0 <= figures.get("compute/padding", 0) < 1
    for rows, plan in zip(order, plans, strict=True):
        assert len(plan.parts) <= most_parts
        tokens = sum(rollouts[row].tokens for row in rows)
        trained = sum(rollouts[rows[place]].tokens for place in plan.rows)
        assert plan.trained_token_share == max(1, trained) / max(1, tokens)


@pytest.mark.parametrize("by_length", [True, False])
@given(st.lists(sizes, min_size=6, max_size=6))
def test_micro_batches_keep_their_number_of_rows(by_length, rollouts):
    parts = rows_of_passes(rollouts, 3, by_length)
    assert [len(part) for part in parts] == [2, 2, 2]
    assert sorted(row for part in parts for row in part) == list(range(6))
    if not by_length:
        assert parts == [[0, 1], [2, 3], [4, 5]]


@few
@given(st.lists(sizes, min_size=1, max_size=6))
def test_parts_are_as_wide_as_their_rows(rollouts):
    plan = MicroBatchPlan.of(rollouts, most_parts=2)
    for part in plan.parts:
        assert part.columns.prompt == max(rollouts[row].columns.prompt for row in part.rows)
        assert part.columns.completion == max(rollouts[row].columns.completion for row in part.rows)
    used = sum(size.columns.width for size in rollouts if size.is_trained)
    passed = sum(len(part.rows) * part.columns.width for part in plan.parts)
    assert plan.counts(is_packed=False)[4:] == [used, passed]
    assert plan.counts(is_packed=True)[4:] == [used, used]


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
