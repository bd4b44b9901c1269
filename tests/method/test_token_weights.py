import math

import numpy as np
import pytest
import torch

from prefix_rft_trl.method.token_weights import (
    PREFIX_WEIGHTS,
    apply_prefix_weights,
    bottom_entropy,
    prefix_token_mask,
    top_entropy,
    top_entropy_per_rollout,
)


CLIP = 0.2
GAMMA = 0.1


def test_prefix_mask_covers_the_first_tokens_and_no_padding():
    completion_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    found = prefix_token_mask(torch.tensor([2, 0, 3, 2]), completion_mask)
    assert found.dtype == torch.bool
    assert found.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def prefixes_of_a_batch() -> tuple[torch.Tensor, torch.Tensor]:
    entropies = torch.rand(7, 30, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([30, 0, 1, 2, 9, 10, 21])
    return entropies, torch.arange(30) < lengths.unsqueeze(1)


def no_shared_threshold(*_: object) -> torch.Tensor:
    raise AssertionError("a threshold for each rollout does not look at other rows")


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8, 1.0])
def test_per_rollout_selection_ranks_within_each_row(quantile):
    entropies, prefix_mask = prefixes_of_a_batch()
    found = top_entropy_per_rollout(entropies, prefix_mask, quantile, no_shared_threshold)
    for of_row, in_prefix, kept in zip(entropies.numpy(), prefix_mask.numpy(), found.numpy(), strict=True):
        threshold = np.quantile(of_row[in_prefix], 1 - quantile) if in_prefix.any() else np.inf
        assert kept.tolist() == ((of_row >= threshold) & in_prefix).tolist()


def test_per_rollout_selection_does_not_depend_on_the_batch():
    entropies, prefix_mask = prefixes_of_a_batch()
    whole = top_entropy_per_rollout(entropies, prefix_mask, 0.2, no_shared_threshold)
    rows = zip(entropies.split(1), prefix_mask.split(1), strict=True)
    one_by_one = [top_entropy_per_rollout(*row, 0.2, no_shared_threshold) for row in rows]
    assert torch.equal(whole, torch.cat(one_by_one))


def high_entropy_mask(values: torch.Tensor, mask: torch.Tensor, threshold: float) -> torch.Tensor:
    """As TRL's, on one process."""
    return mask & (values >= float(np.quantile(values[mask].numpy(), threshold)))


@pytest.mark.parametrize("quantile", [0.2, 0.5])
@pytest.mark.parametrize(("select", "sign"), [(top_entropy, 1), (bottom_entropy, -1)])
def test_prefix_tokens_of_all_rows_are_ranked_together(select, sign, quantile):
    entropies, prefix_mask = prefixes_of_a_batch()
    lowest = np.quantile(sign * entropies[prefix_mask].numpy(), 1 - quantile)
    found = select(entropies, prefix_mask, quantile, high_entropy_mask)
    assert torch.equal(found, prefix_mask & (sign * entropies >= float(lowest)))


def test_share_of_one_selects_all_prefix_tokens():
    entropies, prefix_mask = prefixes_of_a_batch()
    for select in (top_entropy, top_entropy_per_rollout):
        found = select(entropies, prefix_mask, 1.0, high_entropy_mask)
        assert torch.equal(found, prefix_mask)


# One row a sign of the advantages; in a row each log-ratio once on a dropped, a kept and a sampled token. At 0.5 and
# -0.5 the ratio is out of the clip range.
LOG_RATIOS = [-0.5, -0.1, 0.0, 0.1, 0.5]
DROPPED, CHOSEN, SAMPLED = slice(0, 5), slice(5, 10), slice(10, 15)
ADVANTAGES = torch.tensor([0.7, -0.7], dtype=torch.float64)
PREFIX_ADVANTAGES = torch.tensor([1.3, -1.3], dtype=torch.float64)
PREFIX_MASK = torch.tensor([[True] * 10 + [False] * 5] * 2)
# Beyond the prefix a selection means nothing, so whatever it says there must change nothing
SELECTED = torch.tensor([[False] * 5 + [True] * 5 + [False, True, False, True, False]] * 2)


def ppo_loss(logps: torch.Tensor, old_logps: torch.Tensor | None, advantages: torch.Tensor) -> torch.Tensor:
    ratios = torch.exp(logps - (logps.detach() if old_logps is None else old_logps))
    return -torch.min(ratios * advantages, ratios.clamp(1 - CLIP, 1 + CLIP) * advantages).sum()


def make_logps(with_old: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    logps = -3 * torch.rand(2, 15, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    old_logps = logps - torch.tensor(LOG_RATIOS * 3, dtype=torch.float64) if with_old else None
    return logps.requires_grad_(), old_logps


def beta_by_hand(prefix_loss_type: str, advantage: float, ratio: float, probability: float) -> float:
    out_of_range = ratio > 1 + CLIP if advantage > 0 else ratio < 1 - CLIP
    return {
        "ppo": 0.0 if out_of_range else advantage * ratio,
        "ppo_unclipped": advantage * ratio,
        "shaped": advantage * probability * GAMMA / (probability + GAMMA) ** 2,
    }[prefix_loss_type]


def weigh(prefix_loss_type: str, logps: torch.Tensor, old_logps: torch.Tensor | None) -> tuple:
    return apply_prefix_weights(
        prefix_loss_type, logps, old_logps, ADVANTAGES, PREFIX_ADVANTAGES, PREFIX_MASK, SELECTED, GAMMA
    )


@pytest.mark.parametrize("with_old", [False, True])
@pytest.mark.parametrize("prefix_loss_type", PREFIX_WEIGHTS)
def test_gradient_changes_on_prefix_tokens_only(prefix_loss_type, with_old):
    logps, old_logps = make_logps(with_old)
    (gradient,) = torch.autograd.grad(ppo_loss(*weigh(prefix_loss_type, logps, old_logps)), logps)
    betas = [
        [
            -beta_by_hand(prefix_loss_type, advantage, math.exp(log_ratio) if with_old else 1.0, math.exp(logp))
            for log_ratio, logp in zip(LOG_RATIOS, row, strict=True)
        ]
        for advantage, row in zip(PREFIX_ADVANTAGES.tolist(), logps[:, CHOSEN].tolist(), strict=True)
    ]
    torch.testing.assert_close(gradient[:, CHOSEN], torch.tensor(betas, dtype=torch.float64), rtol=1e-12, atol=0)
    assert not gradient[:, DROPPED].any()
    (ordinary,) = torch.autograd.grad(ppo_loss(logps, old_logps, ADVANTAGES.unsqueeze(1)), logps)
    assert torch.equal(gradient[:, SAMPLED], ordinary[:, SAMPLED])


@pytest.mark.parametrize("prefix_loss_type", PREFIX_WEIGHTS)
def test_dropped_prefix_tokens_are_out_of_the_kl_term_too(prefix_loss_type):
    logps, old_logps = make_logps(with_old=True)
    weighed, _, _ = weigh(prefix_loss_type, logps, old_logps)
    assert torch.equal(weighed, logps)
    gradient = torch.autograd.grad(weighed.sum(), logps)[0]
    assert not gradient[:, DROPPED].any()
    assert gradient[:, SAMPLED].all()


def test_dropped_prefix_tokens_do_not_move_a_sequence_ratio():
    logps, old_logps = make_logps(with_old=True)
    weighed, old_logps, advantages = weigh("ppo", logps, old_logps)
    ratios = torch.exp((weighed - old_logps).mean(dim=1, keepdim=True))
    found = torch.autograd.grad(-(ratios * advantages).sum(), logps)[0]
    ratio = math.exp(sum(LOG_RATIOS * 3) / 15)
    by_hand = [-ratio * (5 * 1.3 + 5 * 0.7) / 15, ratio * (5 * 1.3 + 5 * 0.7) / 15]
    expected = torch.tensor([[0.0] * 5 + [weight] * 10 for weight in by_hand], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
