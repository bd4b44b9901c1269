"""Every option of TRL that hybrid rollouts may be combined with: the run learns, and its rollouts are hybrid."""

import asyncio
import math
import re

import pytest
from peft import LoraConfig
from trl import GRPOConfig


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


@pytest.fixture
def assert_learns(make_trainer, train, unchanged_weights):
    """Trains; returns the run."""

    def run(**settings):
        trainer, runs = make_trainer(**settings), []
        assert unchanged_weights(trainer, lambda: runs.append(train(trainer=trainer))) == []
        (finished,) = runs
        numbers = finished.logged("loss") + finished.logged("grad_norm")
        assert len(numbers) == 2 * trainer.args.max_steps
        assert all(map(math.isfinite, numbers))
        assert finished.logged("prefix/length")[0] > 0
        assert finished.logged("prefix/demonstration_share")[0] == 1.0
        return finished

    return run


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_option_trains_with_hybrid_rollouts(assert_learns, settings):
    assert_learns(**settings)


def test_every_loss_type_of_trl_is_tried():
    assert {"grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"} <= set(LOSS_TYPES)


@pytest.mark.parametrize("settings", [{}, {"beta": 0.1}, {"gradient_checkpointing": True}], ids=str)
def test_lora_trains_its_adapters(assert_learns, settings):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    assert_learns(others={"peft_config": lora}, **settings)


def test_streamed_dataset_trains(assert_learns, lab_rows):
    assert_learns(train_dataset=lab_rows().to_iterable_dataset(), max_steps=3)


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
def test_rewards_of_every_kind_train(assert_learns, reward_funcs, prefix_advantage):
    assert_learns(
        reward_funcs=reward_funcs,
        reward_weights=[0.5, 2.0] if isinstance(reward_funcs, list) else None,
        prefix_advantage=prefix_advantage,
        # All prompts in one batch, so that a batch of unlucky groups without any advantage cannot occur
        per_device_train_batch_size=16,
    )


@pytest.mark.parametrize("prefix_advantage", ["group", "on_policy"])
def test_rollouts_without_any_reward_teach_nothing(make_trainer, unchanged_weights, prefix_advantage):
    trainer = make_trainer(reward_funcs=no_reward, prefix_advantage=prefix_advantage)
    assert unchanged_weights(trainer, trainer.train) == list(dict(trainer.model.named_parameters()))
    assert trainer.state.log_history[0]["prefix/reward_hybrid"] is None


# Datasets


def test_each_of_several_demonstrations_is_drawn(train, lab_rows):
    rows = lab_rows()
    both = [[text, f"#{answer}" * 3] for text, answer in zip(rows["completion"], rows["solution"], strict=True)]
    run = train(train_dataset=lab_rows(completion=both), num_prefix_generations=4)
    ((hash_id,),) = run.ids(["#"])
    starts = [ids[0] == hash_id for generation in run.generations for ids in generation.completion_ids]
    assert 0 < sum(starts) < len(starts)


@pytest.mark.parametrize("several", [False, True])
def test_messages_go_through_the_chat_template(assert_learns, lab_rows, as_message, chat_model, several):
    answer = as_message("assistant")
    rows = lab_rows(
        prompt=as_message("user"), completion=(lambda text: [answer(text), answer(text)]) if several else answer
    )
    run = assert_learns(model=chat_model, train_dataset=rows, learning_rate=1e-4)
    texts = {row["prompt"]: row["completion"] for row in lab_rows()}
    for generation in run.generations:
        prompt = run.trainer._tokenizer.decode(generation.outputs["prompt_ids"][0])
        assert prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
        for row in (0, 4):
            (demonstration,) = run.ids([texts[generation.inputs[row]["prompt"][0]["content"]]])
            length, ids = generation.prefix_lengths[row], generation.completion_ids[row]
            assert 0 < length < len(demonstration)
            assert ids[:length] == demonstration[:length]
            assert length < len(ids) <= 40
