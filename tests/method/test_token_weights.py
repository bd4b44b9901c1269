import pytest
import torch

from prefix_rft_trl.method.coefficients import Coefficient
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


@pytest.mark.parametrize("name", TOKEN_LAWS)
def test_trained_tokens_stay_on_their_device(name):
    rule = rule_of(name)
    tokens = torch.ones(2, 3, dtype=torch.bool, device="meta")
    batch = {"prefix_mask": tokens, "prefix_advantages": torch.ones(2, device="meta")}
    assert rule.trained_tokens(batch, tokens).device.type == "meta"
