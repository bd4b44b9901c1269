"""The trainers that a recipe can name, made from its settings."""

from typing import Any

from trl import ModelConfig

from prefix_rft_trl.cli.data import load_splits, pick_split, with_demonstrations, with_prompts
from prefix_rft_trl.cli.errors import UserError
from prefix_rft_trl.rewards import REWARDS_OF_MESSAGES, RewardFunction, load_reward


def make_prefix_grpo_trainer(script_args: Any, training_args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    if not script_args.reward_funcs:
        raise UserError("no reward: set `reward_funcs` to a registered name or a dotted path.")
    splits = _splits(script_args)
    rewards = _rewards(script_args)
    train_dataset = _prepared(splits, script_args.dataset_train_split, script_args)
    _check_rewards_fit_prompts(script_args, train_dataset)
    evaluates = training_args.eval_strategy != "no"

    from trl import get_peft_config, get_quantization_config

    from prefix_rft_trl import PrefixGRPOTrainer

    training_args.model_init_kwargs = _model_init_kwargs(model_args, training_args)
    trainer = PrefixGRPOTrainer(
        model=_model_path(script_args, model_args),
        reward_funcs=rewards,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=_prepared(splits, script_args.dataset_test_split, script_args) if evaluates else None,
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
    )
    if script_args.measure_steps:
        from prefix_rft_trl.curve import grpo_tokens_per_step

        _measure(trainer, splits, rewards, script_args, grpo_tokens_per_step(training_args))
    return trainer, next(iter(train_dataset))["prompt"]


def make_sft_trainer(script_args: Any, training_args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    splits = _splits(script_args)
    prompts = _prepared(splits, script_args.dataset_train_split, script_args)
    train_dataset = with_demonstrations(prompts, training_args.demonstration_column)
    evaluates = training_args.eval_strategy != "no"
    eval_dataset = None
    if evaluates:
        held_out = _prepared(splits, script_args.dataset_test_split, script_args)
        eval_dataset = with_demonstrations(held_out, training_args.demonstration_column)

    from trl import SFTTrainer, get_peft_config, get_quantization_config

    training_args.model_init_kwargs = _model_init_kwargs(model_args, training_args)
    quantization_config = get_quantization_config(model_args)
    if quantization_config is not None:
        training_args.model_init_kwargs["quantization_config"] = quantization_config
    trainer = SFTTrainer(
        model=_model_path(script_args, model_args),
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        peft_config=get_peft_config(model_args),
    )
    if script_args.measure_steps:
        from prefix_rft_trl.curve import sft_tokens_per_step

        tokens = sft_tokens_per_step(training_args, trainer.train_dataset["labels"])
        _measure(trainer, splits, _rewards(script_args), script_args, tokens)
    return trainer, next(iter(train_dataset))["prompt"]


TRAINERS = {"prefix_grpo": make_prefix_grpo_trainer, "sft": make_sft_trainer}


def _splits(script_args: Any) -> Any:
    of_lab = {
        "level": script_args.lab_level,
        "style": script_args.lab_style,
        "damaged_share": script_args.lab_damaged_share,
        "demonstrated_share": script_args.lab_demonstrated_share,
    }
    return load_splits(script_args.dataset_name, script_args.dataset_config, script_args.dataset_streaming, of_lab)


def _prepared(splits: Any, split: str, script_args: Any) -> Any:
    rows = pick_split(splits, split)
    return with_prompts(rows, script_args.prompt_column, script_args.instruction, script_args.conversational)


def _rewards(script_args: Any) -> list[RewardFunction]:
    if not script_args.reward_funcs:
        raise UserError("`measure_steps` needs a reward: set `reward_funcs` to a registered name or a dotted path.")
    return [load_reward(name) for name in _names(script_args)]


def _names(script_args: Any) -> list[str]:
    names = script_args.reward_funcs
    return names if isinstance(names, list) else [names]


def _check_rewards_fit_prompts(script_args: Any, dataset: Any) -> None:
    first: dict[str, Any] = next(iter(dataset), {})
    of_messages = [name for name in _names(script_args) if name in REWARDS_OF_MESSAGES]
    if of_messages and isinstance(first.get("prompt"), str):
        raise UserError(
            f"the reward {of_messages[0]!r} reads messages, and the prompts are text. Set `conversational: true`."
        )


def _model_path(script_args: Any, model_args: ModelConfig) -> str | None:
    from prefix_rft_trl import lab

    is_lab = model_args.model_name_or_path == "lab"
    return lab.base_model_path(script_args.lab_level) if is_lab else model_args.model_name_or_path


def _model_init_kwargs(model_args: ModelConfig, training_args: Any) -> dict[str, Any]:
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training_args.model_init_kwargs or {}),
    }


def _measure(trainer: Any, splits: Any, rewards: list[RewardFunction], script_args: Any, tokens_per_step: Any) -> None:
    from prefix_rft_trl.curve import CurveWriter
    from prefix_rft_trl.held_out import HeldOut

    _check_model_is_whole(trainer.accelerator.state)
    rows = _prepared(splits, script_args.measure_split, script_args)
    if script_args.measure_rows is not None:
        rows = rows.select(range(min(script_args.measure_rows, len(rows))))
    held_out = HeldOut(rows, rewards, script_args.measure_max_new_tokens)

    def measure(model: Any) -> dict[str, float]:
        return held_out.measure(model, trainer.processing_class, trainer.accelerator)

    trainer.add_callback(CurveWriter(trainer.args.output_dir, script_args.measure_steps, measure, tokens_per_step))


def _check_model_is_whole(state: Any) -> None:
    deepspeed = getattr(state, "deepspeed_plugin", None)
    if getattr(state, "fsdp_plugin", None) is not None or (deepspeed is not None and deepspeed.zero_stage == 3):
        raise UserError("`measure_steps` samples from a model that is whole on each process. Set it to 0.")
