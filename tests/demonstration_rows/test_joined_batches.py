"""Demonstrations as further rows of a micro-batch, and the part of the loss that each of their tokens has."""

import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from prefix_rft_trl.demonstration_rows.joined_batches import (
    EncodedDemonstration,
    columns_of,
    demonstration_shares,
    joined_with,
)
from prefix_rft_trl.passes.columns import PassColumns


PAD = 9
SHORT, LONG, LEFT_OUT = (EncodedDemonstration(*ids) for ids in (([3], [4, 1]), ([2, 3, 3], [4, 4, 4, 1]), ([2], [])))


def rollouts():
    """Two rollouts with prompts of at most 2 tokens, and completions of at most 3."""
    return {
        "prompt_ids": torch.tensor([[PAD, 5], [5, 6]]),
        "prompt_mask": torch.tensor([[0, 1], [1, 1]]),
        "completion_ids": torch.tensor([[7, 1, PAD], [7, 8, 1]]),
        "completion_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
        "advantages": torch.tensor([1.0, -1.0]),
        "num_items_in_batch": torch.tensor(5),
        "old_per_token_logps": torch.full((2, 3), -2.0),
        "ref_per_token_logps": torch.full((2, 3), -3.0),
        "importance_sampling_ratio": torch.full((2, 3), 0.5),
        "prefix_lengths": torch.tensor([0, 0]),
        "prefix_mask": torch.zeros((2, 3), dtype=torch.bool),
        "prefix_advantages": torch.tensor([1.0, -1.0]),
        "prefix_shares": torch.ones(2),
        "names": ["one", "two"],
    }


def join(rows, loss_type="dapo", multiple=None, batch=None):
    batch = batch or rollouts()
    columns = columns_of([batch], [rows], multiple)
    return joined_with(batch, rows, torch.full((len(rows),), 0.25), columns, PAD, loss_type)


def test_rows_follow_the_rollouts_at_their_width():
    joined = join([SHORT, LONG])
    assert joined["prompt_ids"].tolist() == [[PAD, PAD, 5], [PAD, 5, 6], [PAD, PAD, 3], [2, 3, 3]]
    assert joined["prompt_mask"].tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]]
    assert joined["completion_ids"].tolist() == [
        [7, 1, PAD, PAD], [7, 8, 1, PAD], [4, 1, PAD, PAD], [4, 4, 4, 1],
    ]  # fmt: skip
    assert joined["completion_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert joined["prefix_mask"].tolist() == [[False] * 4] * 2 + [[True, True, False, False], [True] * 4]
    assert joined["prefix_lengths"].tolist() == [0, 0, 2, 4]
    assert joined["prefix_advantages"].tolist() == [1, -1, 1, 1]
    assert joined["prefix_shares"].tolist() == [1, 1, 0.25, 0.25]
    assert joined["names"] == ["one", "two", None, None]
    assert joined["num_items_in_batch"] == 5


def test_policy_loss_leaves_the_rows_out():
    joined = join([SHORT, LONG])
    assert (joined["completion_mask"] * joined["tool_mask"]).tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0] * 4, [0] * 4]
    assert joined["advantages"].tolist() == [1, -1, 0, 0]
    assert joined["importance_sampling_ratio"].log().isfinite().all()
    logps = torch.full((4, 4), -100.0)  # of what the policy finds impossible
    for name in ("old_per_token_logps", "ref_per_token_logps", "importance_sampling_ratio"):
        assert joined[name].shape == (4, 4)
        assert joined[name].dtype == torch.float32
    assert torch.exp(joined["ref_per_token_logps"] - logps)[2:].isfinite().all()


def test_mask_of_rollouts_is_kept():
    batch = rollouts() | {"tool_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}
    assert join([SHORT], batch=batch)["tool_mask"].tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_row_that_is_left_out_has_no_token():
    joined = join([LEFT_OUT])
    assert joined["completion_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert not joined["prefix_mask"].any()


@pytest.mark.parametrize("loss_type", ["dr_grpo", "grpo", "sapo", "luspo"])
def test_rollouts_weigh_what_they_did_where_a_loss_divides_by_rows(loss_type):
    assert join([SHORT], loss_type)["advantages"].tolist() == [1.5, -1.5, 0]


@pytest.mark.parametrize(("multiple", "columns"), [(None, (3, 4)), (4, (4, 4)), (3, (3, 6))])
def test_columns_hold_all_rows_in_multiples(multiple, columns):
    assert columns_of([rollouts()], [[SHORT, LONG]], multiple) == PassColumns(*columns)
    assert join([SHORT, LONG], multiple=multiple)["completion_ids"].shape == (4, columns[1])


counts = st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=1, max_size=6)


@hypothesis.given(counts, st.integers(1, 4), st.sampled_from(["tokens", "prompts"]))
def test_shares_add_up_in_every_step(tokens, micro_steps, normalization):
    """Of one process; those of several add up in the same way, as the counts are of all of them."""
    tokens = torch.tensor(tokens)
    totals = torch.stack([tokens.sum(dim=1), (tokens > 0).sum(dim=1)], dim=1)
    shares = demonstration_shares(normalization, tokens, totals, micro_steps)
    together = micro_steps if len(tokens) % micro_steps == 0 else len(tokens)
    for start in range(0, len(tokens), together):
        counted = tokens[start : start + together]
        weights = (shares[start : start + together] * counted) * len(tokens) / together
        assert weights.sum().item() == pytest.approx(float(counted.sum() > 0))
        trained = [weight for weight, number in zip(weights.flatten(), counted.flatten(), strict=True) if number]
        numbers = [int(number) for number in counted.flatten() if number]
        parts = [1] * len(numbers) if normalization == "prompts" else numbers
        assert trained == pytest.approx([part / sum(parts) for part in parts])
    assert all(math.isfinite(share) for share in shares.flatten())
