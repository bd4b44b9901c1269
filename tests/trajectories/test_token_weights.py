"""Prefix tokens of several turns have the weight of their law, and results of tools have none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from prefix_rft_trl.loss.sampled_alone import all_processes
from prefix_rft_trl.method.token_laws import TOKEN_LAWS


GAMMA = 0.3
# From advantages and probabilities, by hand
WEIGHTS = {
    "ppo": lambda advantages, p: advantages,
    "ppo_unclipped": lambda advantages, p: advantages,
    "shaped": lambda advantages, p: advantages * p * GAMMA / (p + GAMMA) ** 2,
    "cross_entropy": lambda advantages, p: torch.ones_like(p),
    "dft": lambda advantages, p: p,
    "chord_phi": lambda advantages, p: p * (1 - p),
    "trust_region": lambda advantages, p: (p / GAMMA).clamp(max=1),
}


@pytest.fixture
def trained(run_tools: Callable[..., Any]) -> Any:
    return run_tools(prefix_top_entropy_quantile=1.0, prefix_shaping_gamma=GAMMA, prefix_loss_type="shaped")


def gradient(trainer: Any, outputs: dict[str, Any], logps: torch.Tensor) -> torch.Tensor:
    """Of the loss, with regard to the log-probability of each token of a completion."""
    leaf = logps.clone().requires_grad_()
    trainer.current_gradient_accumulation_steps = 1
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (leaf, torch.zeros_like(logps), None)
    trainer._compute_loss(trainer.model, dict(outputs)).backward()
    return leaf.grad


def test_every_law_goes_by_the_mask(trained: Any) -> None:
    trainer, (batch,) = trained.trainer, trained.batches
    outputs, shape = batch.outputs, batch.outputs["completion_ids"].shape
    torch.manual_seed(0)
    logps = -2 * torch.rand(shape) - 0.1
    prefix = outputs["prefix_mask"]
    assert prefix.any()
    is_sampled = (outputs["completion_mask"] * outputs["tool_mask"]).bool() & ~prefix
    advantages = outputs["prefix_advantages"][:, None].expand(shape)
    assert advantages[prefix].abs().min() > 0
    assert WEIGHTS.keys() == TOKEN_LAWS.keys()
    for name, weight in WEIGHTS.items():
        trainer.args.prefix_loss_type, trainer.args.prefix_loss_coef = name, 0.5
        found = gradient(trainer, outputs, logps)
        assert not found[~(prefix | is_sampled)].any(), name
        assert found[is_sampled & (outputs["advantages"][:, None] != 0)].abs().min() > 0, name
        ratios = found[prefix] / weight(advantages, logps.exp())[prefix]
        torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-4, atol=0)
        assert ratios[0] < 0, name


def test_the_most_uncertain_tokens_of_all_turns_are_selected(trained: Any) -> None:
    trainer, (batch,) = trained.trainer, trained.batches
    prefix = batch.outputs["prefix_mask"]
    torch.manual_seed(0)
    entropies = torch.rand(prefix.shape)
    trainer.args.prefix_top_entropy_quantile = 0.2
    everyone = trainer.args.prefix_token_rule
    selected = everyone.select(entropies, prefix, all_processes(trainer, torch.arange(len(prefix))))
    threshold = torch.quantile(entropies[prefix], 0.8)
    assert torch.equal(selected, prefix & (entropies >= threshold))
    spans = [prefix.token_spans for prefix in batch.prefixes[:2]]
    assert all(selected[row, start:stop].any() for row, of_row in enumerate(spans) for start, stop in of_row[:2])


def test_a_closed_gate_leaves_out_what_was_sampled_behind_results(run_tools: Callable[..., Any]) -> None:
    run = run_tools(
        prefix_gate=0.0, prefix_loss_type="cross_entropy", prefix_top_entropy_quantile=1.0, prefix_success_reward=0.5,
        prefix_advantage="on_policy", reward_funcs=lambda completions, **_: [1.0] * len(completions),
    )  # fmt: skip
    (batch,) = run.batches
    assert run.logged("prefix/gate_open") == [0.0]
    pairs = zip(batch.tool_mask[:2], batch.prefixes[:2], strict=True)
    assert run.logged("prefix/gate_left_tokens") == [sum(sum(mask) - len(prefix.ids) for mask, prefix in pairs) / 4]
