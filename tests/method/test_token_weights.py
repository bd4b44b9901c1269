import math

import pytest
import torch

from prefix_rft_trl.method.token_weights import (
    PREFIX_LOSSES,
    PrefixTokenRule,
    apply_prefix_weights,
    prefix_token_mask,
)


def test_prefix_mask_covers_the_first_tokens_and_no_padding():
    completion_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    found = prefix_token_mask(torch.tensor([2, 0, 3, 2]), completion_mask)
    assert found.dtype == torch.bool
    assert found.int().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_dropped_prefix_tokens_do_not_move_a_sequence_ratio():
    # One row a sign of the advantages; in each 5 dropped tokens, 5 that are selected and 5 that were sampled
    logps = torch.full((2, 15), -2.0, dtype=torch.float64, requires_grad=True)
    log_ratios = torch.tensor([-0.5, -0.1, 0.0, 0.1, 0.8] * 3, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    dropped, prefix = torch.arange(15) < 5, torch.arange(15) < 10
    # Beyond the prefix a selection means nothing, so whatever it says there must change nothing
    weighed, old_logps, advantages = apply_prefix_weights(
        "ppo", logps, logps.detach() - log_ratios, 0.7 * signs, 1.3 * signs, prefix, ~dropped, gamma=0.1
    )
    ratios = torch.exp((weighed - old_logps).mean(dim=1, keepdim=True))
    found = torch.autograd.grad(-(ratios * advantages).sum(), logps)[0]
    step = math.exp(log_ratios.mean()) * (5 * 1.3 + 5 * 0.7) / 15
    torch.testing.assert_close(found, -step * signs.unsqueeze(1) * ~dropped)


@pytest.mark.parametrize("loss_type", PREFIX_LOSSES)
def test_trained_tokens_stay_on_their_device(loss_type):
    rule = PrefixTokenRule("top_entropy", 0.2, loss_type, 0.001, 0.1)
    tokens = torch.ones(2, 3, dtype=torch.bool, device="meta")
    batch = {"prefix_mask": tokens, "prefix_advantages": torch.ones(2, device="meta")}
    assert rule.trained_tokens(batch, tokens).device.type == "meta"
