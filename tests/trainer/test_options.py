"""Every option of TRL that hybrid rollouts may be combined with.

The run learns, each hybrid row begins with its prefix, and the loss and its gradient are those that TRL computes on
the same batch. What is refused is in test_refused_options.py.
"""

import asyncio
import math
import re
from dataclasses import fields

import pytest
import torch
from datasets import concatenate_datasets
from peft import IA3Config, LoraConfig, PromptTuningConfig
from torch._dynamo import OptimizedModule
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments
from trl import GRPOConfig


LOSS_TYPES_HELP = GRPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
LOSS_TYPES = re.findall(r"'(\w+)'", LOSS_TYPES_HELP.partition("Supported values are")[2].partition(". ")[0])

BLOCKS = {"num_blocks": 64, "max_batch_tokens": 64}
CONTINUOUS_BATCHING = {
    "use_transformers_continuous_batching": True,
    "transformers_continuous_batching_config": BLOCKS,
}
GENERATION = [
    {"do_sample": False},
    {"top_h": 0.5},
    {"typical_p": 0.5},
    {"epsilon_cutoff": 0.01},
    {"eta_cutoff": 0.01},
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[5], [8, 13]]},  # that are in demonstrations
    {"suppress_tokens": [5, 8, 13]},
    {"sequence_bias": [[[5], -50.0]]},
    {"renormalize_logits": True},
    {"remove_invalid_values": True},
    {"use_cache": False},
    {"min_new_tokens": 35},
    {"num_beams": 1, "num_return_sequences": 1, "length_penalty": 2.0},
    '{"top_k": 2}',
]
OPTIONS = [
    # The loss
    *[{"loss_type": loss_type} for loss_type in LOSS_TYPES],
    *[{"loss_type": loss_type, "num_iterations": 2} for loss_type in ("cispo", "sapo", "vespo")],
    {"loss_type": "sapo", "sapo_temperature_neg": 2.0, "sapo_temperature_pos": 0.5},
    {"loss_type": "vespo", "vespo_k_pos": 1.5, "vespo_k_neg": 2.5, "vespo_lambda_pos": 2.5, "vespo_lambda_neg": 1.5},
    {"importance_sampling_level": "sequence", "num_iterations": 2, "prefix_selection": "none"},
    {"importance_sampling_level": "sequence", "loss_type": "luspo", "prefix_selection": "none"},
    {"importance_sampling_level": "sequence", "num_iterations": 2, "prefix_loss_type": "cross_entropy"},
    {"importance_sampling_level": "sequence", "prefix_loss_type": "shaped", "prefix_loss_normalization": "tokens"},
    {"epsilon": 0.01, "epsilon_high": 0.3, "num_iterations": 2},
    {"delta": 1.5},
    {"delta": 1.5, "num_iterations": 2, "loss_type": "dapo"},
    {"mask_truncated_completions": True, "max_completion_length": 35},
    {"top_entropy_quantile": 0.5},
    {"top_entropy_quantile": 0.1, "num_iterations": 2, "prefix_selection": "bottom_entropy"},
    {"off_policy_mask_threshold": 0.1, "num_iterations": 2},
    {"entropy_coef": 0.1},
    {"entropy_coef": 0.1, "top_entropy_quantile": 0.5, "loss_type": "bnpo"},
    {"use_adaptive_entropy": True, "entropy_target": 10.0},
    {"use_adaptive_entropy": True, "entropy_coef_min": 0.01, "entropy_coef_max": 0.1, "entropy_coef_delta": 0.01},
    # The reference model
    {"beta": 0.1},
    {"beta": 0.1, "num_iterations": 2, "use_bias_correction_kl": True},
    {"beta": 0.1, "num_iterations": 2, "prefix_loss_type": "ppo_unclipped"},
    {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1, "ref_model_mixup_alpha": 0.5},
    # Rewards
    {"scale_rewards": "group"},
    {"scale_rewards": "batch"},
    {"scale_rewards": False},
    {"multi_objective_aggregation": "normalize_then_sum"},
    # Batches
    {"num_iterations": 2},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 2, "steps_per_generation": 1},
    {"gradient_accumulation_steps": 2, "steps_per_generation": 3},
    {"gradient_accumulation_steps": 1, "steps_per_generation": 2},
    {"generation_batch_size": 16},
    {"pad_to_multiple_of": 16},
    {"pad_to_multiple_of": "auto"},
    {"remove_unused_columns": True},
    {"shuffle_dataset": False},
    {"dataloader_num_workers": 1},
    {"data_seed": 3, "seed": 5},
    # The model
    {"gradient_checkpointing": True},
    {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    {"bf16": True},
    {"fp16": True},
    {"cast_lm_head_to_fp32": True},
    {"model_init_kwargs": {"attn_implementation": "eager"}},
    {"model_init_kwargs": {"dtype": "float32"}, "trust_remote_code": True},
    {"disable_dropout": True},
    {"neftune_noise_alpha": 5.0},
    # Sampling
    {"temperature": 0.5},
    {"top_p": 0.5},
    {"top_k": 3},
    {"min_p": 0.1},
    {"repetition_penalty": 1.5},
    {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5},
    {"cache_implementation": "static"},
    {"chat_template_kwargs": {"enable_thinking": False}},
    *[{"generation_kwargs": further} for further in GENERATION],
    CONTINUOUS_BATCHING,
    {"use_transformers_paged": True, "transformers_continuous_batching_config": BLOCKS},
    # Logs
    {"log_completions": True, "num_completions_to_print": 1, "log_unique_prompts": True, "log_multimodal": False},
    # Prefixes
    {"prefix_selection": "top_entropy_per_rollout", "prefix_top_entropy_quantile": 1.0},
    {"prefix_selection": "top_entropy_per_rollout", "num_prefix_generations": 4},
    {"prefix_selection": "none"},
    {"prefix_selection": "random"},
    {"prefix_selection": "bottom_entropy"},
    {"prefix_advantage": "on_policy", "num_prefix_generations": 4},
    {"prefix_advantage": "dr_grpo_prefix", "num_iterations": 2},
    {"prefix_advantage": "dr_grpo_prefix_v2", "loss_type": "cispo"},
    *[{"loss_type": loss_type, "prefix_loss_type": "cross_entropy"} for loss_type in ("cispo", "luspo", "vespo")],
    {"loss_type": "sapo", "prefix_loss_type": "shaped", "num_iterations": 2},
    {"prefix_loss_type": "cross_entropy", "importance_sampling_level": "sequence"},
    {"prefix_loss_type": "cross_entropy", "beta": 0.1, "entropy_coef": 0.1},
    {"prefix_loss_type": "cross_entropy", "gradient_accumulation_steps": 2, "steps_per_generation": 3},
    {"prefix_ratio_schedule": "whole", "mask_truncated_completions": True},
    {"prefix_ratio_schedule": "whole", "prefix_selection": "random", "gradient_accumulation_steps": 2},
    {"prefix_ratio_distribution": "binomial", "num_prefix_generations": 4, "prefix_shared_in_group": True},
    {"prefix_ratio_schedule": "adaptive", "steps_per_generation": 2},
    {"prefix_ratio_schedule": "whole", **CONTINUOUS_BATCHING},
]
# Options of TRL that are not in the table, and why
NOT_HERE = {
    "of vLLM, whose engine has tests of its own (tests/vllm_engine, tests/sampling)": [
        name for name in GRPOConfig.__dataclass_fields__ if "vllm" in name
    ],
    "of tools, which are refused": ["max_tool_calling_iterations"],
    "of evaluation": ["num_generations_eval"],
    "of models with experts": ["router_aux_loss_coef"],
    "of the Hub": ["log_completions_hub_repo"],
    "of DeepSpeed (tests/distributed)": ["ds3_gather_for_generation"],
    "in every run": ["num_generations", "max_completion_length", "learning_rate"],
    "of several rewards, below": ["reward_weights"],
}


OF_SEVERAL_STEPS = {
    "num_iterations", "steps_per_generation", "generation_batch_size", "sync_ref_model", "use_adaptive_entropy",
    "num_prefix_generations", "others",
}  # fmt: skip


@pytest.fixture
def assert_learns(make_trainer, train, unchanged_weights, assert_prefixes_begin, assert_loss_is_trls):
    """Trains; returns the run."""

    def run(**settings):
        settings = {"max_steps": 2 if settings.keys() & OF_SEVERAL_STEPS else 1, **settings}
        trainer, runs = make_trainer(**settings), []
        assert unchanged_weights(trainer, lambda: runs.append(train(trainer=trainer))) == []
        (finished,) = runs
        numbers = finished.logged("loss") + finished.logged("grad_norm")
        assert len(numbers) == 2 * trainer.args.max_steps
        assert all(map(math.isfinite, numbers))
        assert finished.logged("prefix/length")[0] > 0
        assert finished.logged("prefix/demonstration_share")[0] == 1.0
        assert_prefixes_begin(finished)
        if trainer.args.prefix_loss_type == "ppo":  # TRL has no other
            assert_loss_is_trls(trainer)
        return finished

    return run


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_option_trains_with_hybrid_rollouts(assert_learns, settings):
    assert_learns(**settings)


def test_every_option_of_trl_is_tried_or_named():
    inherited = {field.name for field in fields(TrainingArguments)}
    own = {field.name for field in fields(GRPOConfig)} - inherited
    tried = {name for settings in OPTIONS for name in settings}
    named = {name for names in NOT_HERE.values() for name in names}
    assert own - tried - named == set()


def test_every_loss_type_of_trl_is_tried():
    assert {"grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"} <= set(LOSS_TYPES)


LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
ADAPTERS = {
    "LoRA": LORA,
    "DoRA": LoraConfig(r=4, use_dora=True, target_modules=["q_proj"], task_type="CAUSAL_LM"),
    "a trained head": LoraConfig(
        r=4, modules_to_save=["lm_head"], target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    ),
    "IA3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
    "prompt tuning": PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("settings", [{"beta": 0.1}, {"gradient_checkpointing": True}, CONTINUOUS_BATCHING], ids=str)
def test_lora_trains_its_adapters(assert_learns, settings):
    assert_learns(others={"peft_config": LORA}, **settings)


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
def test_adapters_of_every_kind_train(assert_learns, adapter):
    assert_learns(others={"peft_config": adapter})


def test_compiled_model_trains(assert_learns, text_model, lab_rows):
    run = assert_learns(model=str(text_model), torch_compile=True, torch_compile_backend="eager")
    assert isinstance(run.trainer.model_wrapped, OptimizedModule)
    assert "generate" not in vars(run.trainer.model_wrapped) | vars(run.trainer.model)


def test_rollouts_are_evaluated_without_prefixes(make_trainer, record, lab_rows):
    trainer = make_trainer(
        eval_strategy="steps", eval_steps=1, num_generations_eval=2, max_steps=1, others={"eval_dataset": lab_rows(4)}
    )
    generations = record(trainer)
    trainer.train()
    assert [("prefix_lengths" in generation.outputs) for generation in generations] == [True, False]


# Datasets


def from_the_prompt(batch):
    return {**batch, "completion": [f"{prompt}#3#" for prompt in batch["prompt"]]}


DATASETS = {
    "stream": lambda rows: rows.to_iterable_dataset(),
    "mapped stream": lambda rows: rows.to_iterable_dataset().map(from_the_prompt, batched=True),
    "transform": lambda rows: rows.remove_columns("completion").with_transform(from_the_prompt),
    "shuffled transform": lambda rows: (
        rows.remove_columns("completion").with_transform(from_the_prompt).shuffle(seed=1)
    ),
    "torch": lambda rows: rows.with_format("torch"),
    "numpy": lambda rows: rows.with_format("numpy"),
    "two datasets": lambda rows: concatenate_datasets([rows, rows]),
}


@pytest.mark.parametrize("make", DATASETS.values(), ids=DATASETS)
def test_datasets_of_every_kind_train(assert_learns, lab_rows, make):
    assert_learns(train_dataset=make(lab_rows()), max_steps=2)


def test_transform_that_makes_no_demonstration_is_refused(make_trainer, lab_rows):
    rows = lab_rows().remove_columns("completion")
    for transform, message in (
        (lambda batch: batch, "no column 'completion'.*columns are: prompt, solution"),
        (lambda batch: {**batch, "completion": [None] * len(batch["prompt"])}, "None of the 16 rows has a demonst"),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(model="./no-such-model", train_dataset=rows.with_transform(transform))


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


def test_reward_model_trains(assert_learns, base_model, tmp_path):
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(base_model, num_labels=1, pad_token_id=0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "reward")
    AutoTokenizer.from_pretrained(base_model).save_pretrained(tmp_path / "reward")
    assert_learns(reward_funcs=[str(tmp_path / "reward"), length_reward], reward_weights=[1.0, 0.5])


# Demonstrations


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
