"""Norms of the gradients of prefix and of sampled tokens: what they are, and that measuring them changes nothing."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM

from prefix_rft_trl.passes.gradient_norms import PrefixGradients


NAMES = ("prefix/gradient_norm", "prefix/gradient_norm_sampled", "prefix/gradient_cosine")
ALL_TOKENS = {"num_prefix_generations": 2, "prefix_top_entropy_quantile": 1.0}
# Of four hybrid rollouts, which are the longest, two are in the same one
FOUR_MICRO_BATCHES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
CROSS_ENTROPY = {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 0.3}


def measured(logs: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    return [tuple(log[name] for name in NAMES) for log in logs if NAMES[0] in log]


def gradients_of_formula(model: Any, rows: dict[str, torch.Tensor], settings: dict[str, Any]) -> list[torch.Tensor]:
    """The gradients of the two sums of the loss, over prefix tokens and over sampled ones, as vectors."""
    prefix_loss = sampled_loss = torch.zeros(())
    tokens = rows["prefix_mask"].sum()
    for row in range(len(rows["prefix_mask"])):
        prompt = rows["prompt_ids"][row][rows["prompt_mask"][row].bool()]
        completion = rows["completion_ids"][row][rows["completion_mask"][row].bool()]
        logits = model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1).gather(1, completion[:, None])[:, 0]
        prefix, others = logps.split([int(length := rows["prefix_lengths"][row]), len(logps) - int(length)])
        average = len(rows["prefix_mask"]) * 40
        if "prefix_loss_coef" in settings:
            prefix_loss = prefix_loss - settings["prefix_loss_coef"] * prefix.sum() / tokens
        else:
            prefix_loss = prefix_loss - rows["prefix_advantages"][row] * prefix.sum() / average
        sampled_loss = sampled_loss - rows["advantages"][row] * others.sum() / average
    parameters = list(model.parameters())
    return [
        torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters, retain_graph=True)])
        for loss in (prefix_loss, sampled_loss)
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        FOUR_MICRO_BATCHES,
        {**FOUR_MICRO_BATCHES, **CROSS_ENTROPY},
        {**FOUR_MICRO_BATCHES, "gradient_checkpointing": True, "prefix_advantage": "on_policy"},
        {"padding_free": True, "skip_zero_weight_rollouts": False, **CROSS_ENTROPY},
    ],
)
def test_norms_are_those_of_the_two_sums_of_the_loss(make_trainer, record, base_model, settings):
    trainer = make_trainer(**ALL_TOKENS, max_steps=1, prefix_gradient_norm_steps=1, **settings)
    generations = record(trainer)
    trainer.train()
    model = AutoModelForCausalLM.from_pretrained(base_model).double()
    prefix, sampled = gradients_of_formula(model, generations[0].outputs, settings)
    expected = (prefix.norm(), sampled.norm(), torch.dot(prefix, sampled) / (prefix.norm() * sampled.norm()))
    assert measured(trainer.state.log_history) == [pytest.approx(tuple(map(float, expected)), rel=1e-5, abs=1e-7)]
    assert trainer.state.log_history[0]["grad_norm"] == pytest.approx(float((prefix + sampled).norm()), rel=1e-5)


@pytest.mark.parametrize("settings", [FOUR_MICRO_BATCHES, {"gradient_checkpointing": True, **CROSS_ENTROPY}])
def test_measuring_leaves_the_weights_bit_for_bit(make_trainer, settings):
    weights, logs = [], []
    for every in (None, 2):
        trainer = make_trainer(**ALL_TOKENS, max_steps=4, prefix_gradient_norm_steps=every, **settings)
        trainer.train()
        weights.append({name: weight.clone() for name, weight in trainer.model.state_dict().items()})
        logs.append(trainer.state.log_history[:-1])
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert [log["step"] for log in logs[1] if NAMES[0] in log] == [2, 4]
    for without, with_norms in zip(*logs, strict=True):
        timed = {name for name in with_norms if "time" in name}
        assert {*with_norms} - {*without} <= {*NAMES}
        assert all(with_norms[name] == value for name, value in without.items() if name not in timed)


def test_a_step_without_prefix_tokens_has_a_norm_of_zero_and_no_cosine(make_trainer):
    rows = [{"prompt": f"1+{number}=", "completion": None, "solution": "1"} for number in range(9)]
    rows.append({"prompt": "1+1=", "completion": "2;#2", "solution": "2"})
    trainer = make_trainer(
        train_dataset=Dataset.from_list(rows), shuffle_dataset=False, max_steps=1, prefix_gradient_norm_steps=1
    )
    trainer.train()
    log = trainer.state.log_history[0]
    assert log[NAMES[0]] == 0
    assert log[NAMES[1]] == pytest.approx(log["grad_norm"], rel=1e-6)
    assert NAMES[2] not in log


def test_a_micro_batch_that_reaches_no_prefix_adds_nothing():
    weight = torch.nn.Parameter(torch.ones(3))
    outputs = weight[None] * torch.tensor([[1.0, 2.0, 3.0]])
    gradients = PrefixGradients([weight, torch.nn.Parameter(torch.ones(1), requires_grad=False)])
    gradients.add(outputs.sum(), [outputs], torch.zeros(1, 3, dtype=torch.bool))
    accelerator = SimpleNamespace(device="cpu", scaler=None, reduce=lambda tensor, reduction: tensor)
    weight.grad = torch.tensor([3.0, 0.0, 4.0])
    assert gradients.take_metrics(accelerator) == {NAMES[0]: 0.0, NAMES[1]: 5.0}
    gradients.add(outputs.sum(), [outputs], torch.tensor([[False, True, False]]))
    found = gradients.take_metrics(accelerator)
    assert found == pytest.approx({NAMES[0]: 2.0, NAMES[1]: math.sqrt(9 + 4 + 16), NAMES[2]: -4 / (2 * math.sqrt(29))})
