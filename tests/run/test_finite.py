"""Rewards and weights that are not finite: the first are no scores, the second end the run."""

import logging
import math

import pytest
import torch
from trl import SFTConfig

from prefix_rft_trl import lab
from prefix_rft_trl.run import last_checkpoint
from prefix_rft_trl.run.finite import LARGEST_REWARD, WeightsNotFinite, first_not_finite
from prefix_rft_trl.sft import CountingSFTTrainer


@pytest.fixture
def reward_with(graded_reward):
    """Makes a reward that gives a value to the first completion of each batch."""

    def make(value):
        def broken(completions, **kwargs):
            return [value, *graded_reward(completions)[1:]]

        return broken

    return make


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300, -3e38, 2 * LARGEST_REWARD])
def test_reward_that_is_not_finite_counts_as_none(make_trainer, reward_with, tmp_path, value, caplog):
    expected = make_trainer(tmp_path / "none", reward_funcs=reward_with(None), save_strategy="no")
    expected.train()
    found = make_trainer(tmp_path / "value", reward_funcs=reward_with(value), save_strategy="no")
    with caplog.at_level(logging.WARNING):
        found.train()
    for (name, weight), other in zip(found.model.named_parameters(), expected.model.parameters(), strict=True):
        assert torch.equal(weight, other), name
    warnings = [record.message for record in caplog.records if "The reward function 'broken' gave" in record.message]
    assert len(warnings) == 1
    assert any(f"of the prompt {prompt!r}. It" in warnings[0] for prompt in found.train_dataset["prompt"])
    logs = [log for log in found.state.log_history if "loss" in log]
    assert [log["rewards/broken/not_finite"] for log in logs] == [1 / 8] * 4
    assert all(math.isfinite(log["reward"]) and math.isfinite(log["grad_norm"]) for log in logs)
    assert not any("rewards/broken/not_finite" in log for log in expected.state.log_history)


@pytest.mark.parametrize("value", [1e17, -1e12])
def test_large_reward_is_a_reward(make_trainer, reward_with, tmp_path, value):
    trainer = make_trainer(tmp_path, reward_funcs=reward_with(value), save_strategy="no")
    trainer.train()
    assert first_not_finite(trainer.model) is None
    assert not any("rewards/broken/not_finite" in log for log in trainer.state.log_history)


def only_infinite(completions, **kwargs):
    return [math.inf] * len(completions)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_prefix_generations": 0},
        {"prefix_advantage": "on_policy"},
        {"multi_objective_aggregation": "normalize_then_sum", "scale_rewards": "group", "prefix_advantage": "group"},
    ],
    ids=str,
)
@pytest.mark.parametrize("rewards", ["all", "of one function"])
def test_weights_stay_finite(make_trainer, reward_with, graded_reward, tmp_path, rewards, settings):
    functions = only_infinite if rewards == "all" else [graded_reward, reward_with(-math.inf)]
    trainer = make_trainer(tmp_path, reward_funcs=functions, save_strategy="no", max_steps=2, **settings)
    trainer.train()
    assert first_not_finite(trainer.model) is None


def poison(trainer, step: int, value: float = math.nan, name: str = "norm") -> None:
    """Makes the optimizer put a number into one weight at a step."""
    update = trainer.create_optimizer

    def create(*args, **kwargs):
        optimizer = update(*args, **kwargs)
        steps = []

        def hook(*_):
            steps.append(1)
            if len(steps) == step:
                weight = next(weight for key, weight in trainer.model.named_parameters() if key.endswith(name))
                weight.data.view(-1)[-1] = value

        optimizer.register_step_post_hook(hook)
        return optimizer

    trainer.create_optimizer = create


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_end_the_run_with_the_good_checkpoint(make_trainer, tmp_path, value):
    trainer = make_trainer(tmp_path, save_total_limit=1)
    poison(trainer, 3, value, "layers.1.mlp.up_proj.weight")
    with pytest.raises(WeightsNotFinite) as error:
        trainer.train()
    assert str(error.value).startswith(
        "Step 3 has made weights NaN or infinite, first in `model.layers.1.mlp.up_proj.weight`."
    )
    for part in (str(tmp_path / "checkpoint-2"), "learning_rate", "fp16"):
        assert part in str(error.value)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]


def test_run_resumes_from_the_good_checkpoint(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path)
    poison(trainer, 3, name="weight")
    with pytest.raises(WeightsNotFinite):
        trainer.train()
    resumed = make_trainer(tmp_path)
    resumed.train("last")
    assert resumed.state.global_step == 4


def test_last_step_counts_too_without_any_checkpoint(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="no", max_steps=2)
    poison(trainer, 2, name="weight")
    with pytest.raises(WeightsNotFinite, match=r"Step 2 .* the last complete checkpoint is none"):
        trainer.train()


def test_model_that_starts_with_nan_is_refused_before_a_step(make_trainer, tmp_path):
    trainer = make_trainer(tmp_path)
    next(trainer.model.parameters()).data[0, 0] = math.nan
    with pytest.raises(WeightsNotFinite, match="would start at step 0 from weights that are NaN"):
        trainer.train()
    assert last_checkpoint(tmp_path) is None


def test_sft_ends_too(tmp_path):
    rows = lab.load_dataset("train", 16).select_columns(["prompt", "completion"])
    args = SFTConfig(
        str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=4, save_steps=1, save_total_limit=1,
        learning_rate=math.inf, lr_scheduler_type="constant_with_warmup", warmup_steps=2,
    )  # fmt: skip
    with pytest.raises(WeightsNotFinite, match="checkpoint"):
        CountingSFTTrainer(lab.base_model_path(), args, train_dataset=rows).train()
    assert last_checkpoint(tmp_path) is None


def test_frozen_and_integer_weights_are_not_looked_at():
    model = torch.nn.Linear(2, 2)
    model.weight.data[0, 0] = math.nan
    assert first_not_finite(model) == "weight"
    model.weight.requires_grad = False
    assert first_not_finite(model) is None
    model.bias.requires_grad = False
    assert first_not_finite(model) is None


def test_padding_of_a_shard_of_zero_3_is_not_a_weight(monkeypatch):
    """Five values on two processes, three each: what follows the last one is uninitialized memory."""
    model, shard = torch.nn.Linear(1, 1, bias=False), torch.tensor([1.0, 2.0, math.nan])
    model.weight.data = torch.empty(0)
    model.weight.ds_tensor, model.weight.ds_numel, model.weight.ds_process_group = shard, 5, None
    monkeypatch.setattr(torch.distributed, "get_rank", lambda group: 1)
    assert first_not_finite(model) is None
    monkeypatch.setattr(torch.distributed, "get_rank", lambda group: 0)
    assert first_not_finite(model) == "weight"


def test_large_weights_are_finite_though_their_norm_is_not():
    model = torch.nn.Linear(4, 4)
    model.weight.data.fill_(3e38)
    assert first_not_finite(model) is None
