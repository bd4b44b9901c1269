"""A share of the prefix tokens is that share, however many scores are equal, on one process and on several."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.selections import (
    SELECTIONS,
    AllProcesses,
    share_of_tokens,
    top_entropy,
    top_entropy_per_rollout,
)


def quantile_mask(scores: list[torch.Tensor], masks: list[torch.Tensor]):
    """TRL's `get_high_entropy_mask`, of processes whose tensors are all at hand."""
    together = torch.cat([score[mask] for score, mask in zip(scores, masks, strict=True)])

    def ranking(own: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
        if not len(together):
            return torch.zeros_like(mask)
        return (own * mask >= torch.quantile(together, threshold)) & mask

    return ranking


class Processes:
    """Runs a selection in turn on every process, again and again until each has what the others gave it."""

    def __init__(self, scores: torch.Tensor, mask: torch.Tensor, number: int):
        self.scores, self.masks = list(scores.chunk(number)), list(mask.chunk(number))
        self.orders = torch.arange(len(scores)).chunk(number)
        self.given: list[list[torch.Tensor]] = []

    def select(self, share: float) -> torch.Tensor:
        ranking = quantile_mask(self.scores, self.masks)
        while True:
            found, calls = [], []
            for index, (scores, mask) in enumerate(zip(self.scores, self.masks, strict=True)):
                mine: list[torch.Tensor] = []

                def gather(tensor: torch.Tensor, mine=mine) -> torch.Tensor:
                    mine.append(tensor)
                    known = len(mine) <= len(self.given)
                    return (
                        torch.cat(self.given[len(mine) - 1])
                        if known
                        else torch.zeros(len(self.masks), *tensor.shape[1:])
                    )

                try:
                    found.append(
                        top_entropy(scores, mask, share, AllProcesses(ranking, gather, index, self.orders[index]))
                    )
                except IndexError:  # of what was not yet known
                    found.append(None)
                calls.append(mine)
            numbers = {len(mine) for mine in calls}
            if numbers == {len(self.given)}:
                return torch.cat(found)
            self.given.append([mine[len(self.given)] for mine in calls])


def alone(scores: torch.Tensor, mask: torch.Tensor, share: float, select=top_entropy) -> torch.Tensor:
    return select(
        scores,
        mask,
        share,
        AllProcesses(quantile_mask([scores], [mask]), lambda tensor: tensor, 0, torch.arange(len(scores))),
    )


def expected_number(number: int, share: float) -> int:
    return number - math.ceil((1 - Fraction(str(share))) * (number - 1)) if number else 0


def ranked(scores: torch.Tensor, mask: torch.Tensor) -> list[tuple[int, int]]:
    """Row and place of the tokens, highest score first, of equal ones the first place, then the first row."""
    tokens = [(row, place) for row, place in mask.nonzero().tolist()]
    return sorted(tokens, key=lambda token: (-scores[token].item(), token[1], token[0]))


shares = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])


@st.composite
def batches(draw):
    rows, width = draw(st.integers(1, 4)) * 2, draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = torch.from_numpy(rng.integers(0, draw(st.integers(1, 4)), (rows, width)) / 4).float()
    return scores, torch.arange(width) < torch.from_numpy(rng.integers(0, width + 1, (rows, 1)))


@given(batch=batches(), share=shares)
def test_equal_scores_are_kept_in_order_up_to_the_share(batch, share):
    scores, mask = batch
    kept = alone(scores, mask, share)
    number = expected_number(int(mask.sum()), share)
    assert {tuple(token) for token in kept.nonzero().tolist()} == set(ranked(scores, mask)[:number])


@given(batch=batches(), share=shares, number=st.sampled_from([2]))
def test_processes_keep_what_one_would(batch, share, number):
    scores, mask = batch
    assert torch.equal(Processes(scores, mask, number).select(share), alone(scores, mask, share))


@given(batch=batches(), share=shares)
def test_each_rollout_keeps_its_share(batch, share):
    scores, mask = batch
    kept = alone(scores, mask, share, top_entropy_per_rollout)
    for row in range(len(mask)):
        number = expected_number(int(mask[row].sum()), share)
        assert {(0, place) for place in kept[row].nonzero().flatten().tolist()} == set(
            ranked(scores[row : row + 1], mask[row : row + 1])[:number]
        )


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(0, 300), min_size=1, max_size=4), share=shares)
@example(seed=0, lengths=[11], share=0.3)
@example(seed=0, lengths=[101], share=0.2)
def test_without_equal_scores_the_quantile_decides(seed, lengths, share):
    rng, width = np.random.default_rng(seed), max(1, *lengths)
    scores = torch.from_numpy(rng.permutation(len(lengths) * width).reshape(len(lengths), width) / 997).float()
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    assert torch.equal(alone(scores, mask, share), quantile_mask([scores], [mask])(scores, mask, 1 - share))
    of_rows = torch.nanquantile(scores.masked_fill(~mask, torch.nan), 1 - share, dim=1, keepdim=True)
    assert torch.equal(alone(scores, mask, share, top_entropy_per_rollout), (scores >= of_rows) & mask)


def test_a_policy_that_is_certain_of_most_tokens_has_a_fifth_trained():
    entropies = torch.zeros(1, 100)
    entropies[0, 60:79] = torch.linspace(0.1, 2, 19)
    kept = alone(entropies, torch.ones(1, 100, dtype=torch.bool), 0.2)
    assert kept[0].nonzero().flatten().tolist() == [0, *range(60, 79)]
    lowest = alone(entropies, torch.ones(1, 100, dtype=torch.bool), 0.2, SELECTIONS["bottom_entropy"])
    assert lowest[0].nonzero().flatten().tolist() == list(range(20))


@pytest.mark.parametrize("share", [0.2, 0.35, 1.0])
def test_number_of_kept_tokens_is_that_of_the_quantile(share):
    numbers = torch.arange(1, 3000, dtype=torch.float64)
    found = share_of_tokens(numbers, share)
    assert found.tolist() == [expected_number(number, share) for number in range(1, 3000)]
    assert share_of_tokens(torch.zeros(1, dtype=torch.float64), share).item() in (0, 1)  # of none


@given(batch=batches(), share=shares, seed=st.integers(0, 99))
def test_a_shuffle_of_the_rows_changes_nothing(batch, share, seed):
    scores, mask = batch
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    shuffled = AllProcesses(quantile_mask([scores], [mask]), lambda tensor: tensor, 0, order)
    assert torch.equal(top_entropy(scores[order], mask[order], share, shuffled), alone(scores, mask, share)[order])
