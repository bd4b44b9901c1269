import math

import numpy as np
import pytest
import torch

from prefix_rft_trl.method.coefficients import Coefficient
from prefix_rft_trl.method.selections import top_entropy_per_rollout
from prefix_rft_trl.method.token_laws import TOKEN_LAWS
from prefix_rft_trl.method.token_weights import PrefixTokenRule, prefix_token_mask


def rule_of(name):
    law = TOKEN_LAWS[name]
    return PrefixTokenRule(law, "top_entropy", 0.2, 0.1, law.normalization, Coefficient(1.0))


def test_prefix_mask_covers_the_first_tokens_and_no_padding():
    completion_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    found = prefix_token_mask(torch.tensor([2, 0, 3, 2]), completion_mask)
    assert found.dtype == torch.bool
    assert found.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8, 1.0])
def test_per_rollout_selection_ranks_within_each_row(quantile):
    entropies = torch.rand(7, 30, generator=torch.Generator().manual_seed(0))
    prefix_mask = torch.arange(30) < torch.tensor([[30], [0], [1], [2], [9], [10], [21]])
    found = top_entropy_per_rollout(entropies, prefix_mask, quantile, high_entropy_mask=None)
    for of_row, in_prefix, kept in zip(entropies.numpy(), prefix_mask.numpy(), found.numpy(), strict=True):
        threshold = np.quantile(of_row[in_prefix], 1 - quantile) if in_prefix.any() else np.inf
        assert kept.tolist() == ((of_row >= threshold) & in_prefix).tolist()


def test_dropped_prefix_tokens_do_not_move_a_sequence_ratio():
    # One row a sign of the advantages; in each 5 dropped tokens, 5 that are selected and 5 that were sampled
    logps = torch.full((2, 15), -2.0, dtype=torch.float64, requires_grad=True)
    log_ratios = torch.tensor([-0.5, -0.1, 0.0, 0.1, 0.8] * 3, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    dropped, prefix = torch.arange(15) < 5, torch.arange(15) < 10
    # Beyond the prefix a selection means nothing, so whatever it says there must change nothing
    batch = {
        "prefix_mask": prefix.expand(2, -1),
        "prefix_advantages": 1.3 * signs,
        "advantages": 0.7 * signs,
        "old_per_token_logps": logps.detach() - log_ratios,
    }
    weighed, _, updates = rule_of("ppo").apply(batch, logps, logps.detach(), ~dropped.expand(2, -1), 1.0, 1.0)
    ratios = torch.exp((weighed - updates["old_per_token_logps"]).mean(dim=1, keepdim=True))
    found = torch.autograd.grad(-(ratios * updates["advantages"]).sum(), logps)[0]
    step = math.exp(log_ratios.mean()) * (5 * 1.3 + 5 * 0.7) / 15
    torch.testing.assert_close(found, -step * signs.unsqueeze(1) * ~dropped)


@pytest.mark.parametrize("name", TOKEN_LAWS)
def test_trained_tokens_stay_on_their_device(name):
    rule = rule_of(name)
    tokens = torch.ones(2, 3, dtype=torch.bool, device="meta")
    batch = {"prefix_mask": tokens, "prefix_advantages": torch.ones(2, device="meta")}
    assert rule.trained_tokens(batch, tokens).device.type == "meta"
