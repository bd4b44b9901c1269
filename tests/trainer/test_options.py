"""Every option of TRL that a run may combine with hybrid rollouts: the run learns, and its rollouts are hybrid."""

import asyncio
import math
import re

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig

from prefix_rft_trl import lab


LOSS_TYPES_HELP = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
LOSS_TYPES = re.findall(r"'(\w+)'", LOSS_TYPES_HELP.partition("Supported values are")[2].partition(". ")[0])

CONTINUOUS_BATCHING = {
    "use_transformers_continuous_batching": True,
    "transformers_continuous_batching_config": {"num_blocks": 64, "max_batch_tokens": 64},
}
OPTIONS = [
    *[{"loss_type": loss_type} for loss_type in LOSS_TYPES],
    *[{"loss_type": loss_type, "num_iterations": 2} for loss_type in ("cispo", "sapo", "vespo")],
    {"importance_sampling_level": "sequence", "num_iterations": 2},
    {"importance_sampling_level": "sequence", "loss_type": "luspo"},
    {"num_iterations": 2},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 2, "steps_per_generation": 1},
    {"gradient_accumulation_steps": 2, "steps_per_generation": 3},
    {"gradient_accumulation_steps": 1, "steps_per_generation": 2},
    {"gradient_checkpointing": True},
    {"beta": 0.1},
    {"beta": 0.1, "num_iterations": 2, "prefix_loss_type": "ppo_unclipped"},
    {"mask_truncated_completions": True, "max_completion_length": 20},
    {"top_entropy_quantile": 0.5},
    {"off_policy_mask_threshold": 0.1, "num_iterations": 2},
    {"entropy_coef": 0.1},
    {"use_adaptive_entropy": True, "entropy_target": 10.0},
    {"delta": 1.5},
    {"scale_rewards": "group"},
    {"scale_rewards": "batch"},
    {"multi_objective_aggregation": "normalize_then_sum"},
    {"pad_to_multiple_of": 16},
    {"remove_unused_columns": True},
    {"shuffle_dataset": False},
    {"dataloader_num_workers": 1},
    {"prefix_selection": "top_entropy_per_rollout", "prefix_top_entropy_quantile": 1.0},
    {"prefix_selection": "none"},
    {"prefix_selection": "random"},
    {"prefix_selection": "bottom_entropy"},
    {"prefix_advantage": "on_policy", "num_prefix_generations": 4},
    *[{"loss_type": loss_type, "prefix_loss_type": "cross_entropy"} for loss_type in ("cispo", "luspo", "vespo")],
    {"loss_type": "sapo", "prefix_loss_type": "shaped", "num_iterations": 2},
    {"prefix_loss_type": "cross_entropy", "importance_sampling_level": "sequence"},
    {"prefix_loss_type": "cross_entropy", "beta": 0.1, "entropy_coef": 0.1},
    {"prefix_loss_type": "cross_entropy", "gradient_accumulation_steps": 2, "steps_per_generation": 3},
    {"prefix_ratio_schedule": "whole", "mask_truncated_completions": True},
    {"prefix_ratio_schedule": "whole", "prefix_selection": "random", "gradient_accumulation_steps": 2},
    {"prefix_ratio_distribution": "binomial", "num_prefix_generations": 4, "prefix_shared_in_group": True},
    {"prefix_ratio_schedule": "adaptive", "steps_per_generation": 2},
    CONTINUOUS_BATCHING,
    {"prefix_ratio_schedule": "whole", **CONTINUOUS_BATCHING},
]


def assert_learns_from_hybrid_rollouts(trainer):
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == trainer.args.max_steps
    assert all(math.isfinite(entry["loss"]) and math.isfinite(entry["grad_norm"]) for entry in steps)
    assert steps[0]["prefix/length"] > 0
    assert steps[0]["prefix/demonstration_share"] == 1.0
    trained = {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert trained
    assert [name for name, weight in trained.items() if torch.equal(weight, before[name])] == []


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_option_trains_with_hybrid_rollouts(make_trainer, settings):
    assert_learns_from_hybrid_rollouts(make_trainer(**settings))


def test_every_loss_type_of_trl_is_tried():
    assert {"grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"} <= set(LOSS_TYPES)


@pytest.mark.parametrize("settings", [{}, {"beta": 0.1}, {"gradient_checkpointing": True}], ids=str)
def test_lora_trains_its_adapters(make_trainer, settings):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    assert_learns_from_hybrid_rollouts(make_trainer(others={"peft_config": lora}, **settings))


def test_iterable_dataset_gives_demonstrations_row_by_row(make_trainer):
    assert_learns_from_hybrid_rollouts(
        make_trainer(train_dataset=lab.load_dataset("train", 16).to_iterable_dataset(), max_steps=3)
    )


def test_continuous_batching_does_not_let_prefixes_into_the_evaluation(make_trainer, record):
    trainer = make_trainer(
        others={"eval_dataset": lab.load_dataset("test", 6)},
        per_device_eval_batch_size=8,
        **CONTINUOUS_BATCHING,
        max_steps=1,
    )
    generations = record(trainer)
    metrics = trainer.evaluate()
    assert ["prefix_lengths" in generation.outputs for generation in generations] == [False] * 3
    assert not any("prefix/" in name for name in metrics)
    assert "eval_reward" in metrics


# Rewards


def length_reward(completions, **kwargs):
    return [len(text) / 40 for text in completions]


def reward_of_some(completions, **kwargs):
    return [None if row % 3 else float(row % 2) for row, _ in enumerate(completions)]


def no_reward(completions, **kwargs):
    return [None] * len(completions)


async def slow_reward(completions, **kwargs):
    await asyncio.sleep(0)
    return length_reward(completions)


@pytest.mark.parametrize("prefix_advantage", ["group", "on_policy"])
@pytest.mark.parametrize(
    "reward_funcs",
    [[length_reward, reward_of_some], [length_reward, no_reward], reward_of_some, slow_reward],
    ids=["two", "two, one of them silent", "some rows without reward", "async"],
)
def test_rewards_of_every_kind_train(make_trainer, reward_funcs, prefix_advantage):
    weights = [0.5, 2.0] if isinstance(reward_funcs, list) else None
    # All prompts in one batch, so that a batch of unlucky groups without any advantage cannot occur
    assert_learns_from_hybrid_rollouts(
        make_trainer(
            reward_funcs=reward_funcs,
            reward_weights=weights,
            prefix_advantage=prefix_advantage,
            per_device_train_batch_size=16,
        )
    )


def test_weights_of_reward_functions_enter_the_on_policy_baseline(make_trainer, record):
    given = []

    def place_reward(completions, **kwargs):
        return [float(row) for row, _ in enumerate(completions)]

    def recorded_reward(completions, **kwargs):
        given.append(length_reward(completions))
        return given[-1]

    trainer = make_trainer(
        reward_funcs=[place_reward, recorded_reward],
        reward_weights=[0.25, 2.0],
        prefix_advantage="on_policy",
        max_steps=1,
    )
    generations = record(trainer)
    trainer.train()
    totals = [0.25 * row + 2.0 * reward for row, reward in enumerate(given[0])]
    expected = [total - sum(totals[row // 4 * 4 + 1 : row // 4 * 4 + 4]) / 3 for row, total in enumerate(totals)]
    assert generations[0].outputs["advantages"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("prefix_advantage", ["group", "on_policy"])
def test_rollouts_without_any_reward_teach_nothing(make_trainer, prefix_advantage):
    trainer = make_trainer(reward_funcs=no_reward, prefix_advantage=prefix_advantage)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.named_parameters())
    assert trainer.state.log_history[0]["prefix/reward_hybrid"] is None


# Datasets


def test_each_of_several_demonstrations_of_a_row_is_drawn(make_trainer, record):
    rows = lab.load_dataset("train", 16)
    bare = [f"#{solution}#{solution}#{solution}" for solution in rows["solution"]]
    both = [list(pair) for pair in zip(rows["completion"], bare, strict=True)]
    trainer = make_trainer(
        train_dataset=rows.remove_columns("completion").add_column("completion", both), num_prefix_generations=4
    )
    generations = record(trainer)
    trainer.train()
    hash_id = trainer._tokenizer("#")["input_ids"][0]
    started_bare = [ids[0] == hash_id for generation in generations for ids in generation.completion_ids]
    assert 0 < sum(started_bare) < len(started_bare)


@pytest.mark.parametrize("several", [False, True])
def test_messages_go_through_the_chat_template(make_trainer, record, chat_model, several):
    rows = lab.load_dataset("train", 16)
    answers = [[{"role": "assistant", "content": text}] for text in rows["completion"]]
    dataset = Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": text}] for text in rows["prompt"]],
            "completion": [[answer, answer] for answer in answers] if several else answers,
        }
    )
    trainer = make_trainer(model=chat_model, train_dataset=dataset, learning_rate=1e-4)
    generations = record(trainer)
    assert_learns_from_hybrid_rollouts(trainer)
    texts = dict(zip(rows["prompt"], rows["completion"], strict=True))
    for generation in generations:
        prompt_ids = generation.outputs["prompt_ids"][0]
        assert trainer._tokenizer.decode(prompt_ids).endswith("<|im_end|>\n<|im_start|>assistant\n")
        for row in (0, 4):
            demonstration = trainer._tokenizer(texts[generation.inputs[row]["prompt"][0]["content"]])["input_ids"]
            length = generation.prefix_lengths[row]
            assert 0 < length < len(demonstration)
            assert generation.completion_ids[row][:length] == demonstration[:length]
            assert length < len(generation.completion_ids[row]) <= 40
