"""The trainers that a recipe can name, made from its settings."""

import inspect
from typing import Any

from trl import ModelConfig

from prefix_rft_trl.data.loading import load_splits, pick_split, with_demonstrations, with_prompts
from prefix_rft_trl.models.changes import ModelChanges, changed_model
from prefix_rft_trl.models.sources import naming_model
from prefix_rft_trl.rewards import RewardFunction, load_reward
from prefix_rft_trl.utils.errors import UserError


# As of `_calculate_rewards` of GRPOTrainer (trl/trainer/grpo_trainer.py)
GIVEN_TO_REWARDS = {
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments",
}  # fmt: skip


def make_prefix_grpo_trainer(script_args: Any, training_args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    if not script_args.reward_funcs:
        raise UserError("no reward: set `reward_funcs` to a registered name or a dotted path.")
    splits = splits_of(script_args)
    rewards = _rewards(script_args)
    train_dataset = _prepared(splits, script_args.dataset_train_split, script_args)
    _check_columns(rewards, train_dataset)
    held_out = _held_out(splits, script_args, training_args, rewards)
    first_prompt = next(iter(train_dataset))["prompt"]
    model = _model_path(script_args, model_args)
    benchmarks = _benchmarks(script_args, training_args, first_prompt, model)

    from trl import get_peft_config, get_quantization_config

    from prefix_rft_trl import PrefixGRPOTrainer

    training_args.model_init_kwargs = _model_init_kwargs(model_args, training_args)
    with naming_model(model):
        trainer = PrefixGRPOTrainer(
            model=model,
            reward_funcs=rewards,
            args=training_args,
            train_dataset=train_dataset,
            eval_dataset=train_dataset.take(0) if benchmarks else _eval_rows(splits, script_args, training_args),
            quantization_config=get_quantization_config(model_args),
            peft_config=get_peft_config(model_args),
        )
    if held_out is not None:
        from prefix_rft_trl.run.curve import grpo_tokens

        _measure(trainer, held_out, script_args.measure_steps, grpo_tokens(training_args))
    _evaluate_on(benchmarks, trainer)
    return trainer, first_prompt


def make_sft_trainer(script_args: Any, training_args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    splits = splits_of(script_args)
    prompts = _prepared(splits, script_args.dataset_train_split, script_args)
    of_demonstrations = (training_args.demonstration_column, training_args.chat_template_kwargs)
    train_dataset = with_demonstrations(prompts, *of_demonstrations)
    held_out = _held_out(splits, script_args, training_args)
    first_prompt = next(iter(train_dataset))["prompt"]
    model = _model_path(script_args, model_args)
    benchmarks = _benchmarks(script_args, training_args, first_prompt, model)
    eval_rows = _eval_rows(splits, script_args, training_args)
    eval_dataset = None if eval_rows is None else with_demonstrations(eval_rows, *of_demonstrations)

    from trl import get_peft_config, get_quantization_config

    from prefix_rft_trl.sft import CountingSFTTrainer

    training_args.model_init_kwargs = _model_init_kwargs(model_args, training_args)
    quantization_config = get_quantization_config(model_args)
    if quantization_config is not None:
        training_args.model_init_kwargs["quantization_config"] = quantization_config
    with naming_model(model):
        trainer = CountingSFTTrainer(
            model=model,
            args=training_args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            peft_config=get_peft_config(model_args),
        )
    if held_out is not None:
        from prefix_rft_trl.run.curve import sft_tokens

        _measure(trainer, held_out, script_args.measure_steps, sft_tokens())
    _evaluate_on(benchmarks, trainer)
    return trainer, first_prompt


TRAINERS = {"prefix_grpo": make_prefix_grpo_trainer, "sft": make_sft_trainer}


def splits_of(script_args: Any) -> Any:
    """The splits of the dataset that a recipe names."""
    of_lab = {
        "level": script_args.lab_level,
        "style": script_args.lab_style,
        "damaged_share": script_args.lab_damaged_share,
        "demonstrated_share": script_args.lab_demonstrated_share,
    }
    return load_splits(
        script_args.dataset_name,
        script_args.dataset_config,
        script_args.dataset_streaming,
        of_lab,
        script_args.reasoning_gym,
    )


def _prepared(splits: Any, split: str, script_args: Any) -> Any:
    rows = pick_split(splits, split)
    return with_prompts(rows, script_args.prompt_column, script_args.instruction, script_args.conversational)


def _eval_rows(splits: Any, script_args: Any, training_args: Any) -> Any:
    """What the trainer's own evaluation goes over; `None` if there is none."""
    if training_args.eval_strategy == "no":
        return None
    return _prepared(splits, script_args.dataset_test_split, script_args)


def _benchmarks(script_args: Any, training_args: Any, first_prompt: Any, model: Any) -> list[Any]:
    """What each evaluation asks besides, checked before the model is loaded."""
    if not script_args.eval_benchmarks:
        return []
    if training_args.eval_strategy == "no":
        raise UserError("`eval_benchmarks` are asked by `eval_strategy: steps`, with `eval_steps`. Set both.")

    from prefix_rft_trl.evaluation.engines import context_length, fit_budgets, load_tokenizer
    from prefix_rft_trl.evaluation.eval_benchmarks import find_benchmarks
    from prefix_rft_trl.evaluation.sampling import Asking
    from prefix_rft_trl.models.sources import find_models
    from prefix_rft_trl.run.settings import RunSettings

    run = RunSettings.of_recipe(script_args, training_args, first_prompt)
    asking = Asking(num_samples=script_args.eval_num_samples, num_problems=script_args.eval_num_problems)
    found = find_benchmarks(script_args.eval_benchmarks, asking, run, has_template=not isinstance(first_prompt, str))
    source = find_models([model], lab_level=script_args.lab_level)[0]
    of_engine = (
        getattr(training_args, "vllm_max_model_length", None) if getattr(training_args, "use_vllm", 0) else None
    )
    fit_budgets(found, load_tokenizer(source), of_engine or context_length(source), is_given=True, tell=print)
    for benchmark in found:
        benchmark.check_golds()
    return found


def _evaluate_on(benchmarks: list[Any], trainer: Any) -> None:
    if benchmarks:
        from prefix_rft_trl.evaluation.during_training import BenchmarkCallback

        if not getattr(trainer, "use_vllm", False):
            _check_model_is_whole(
                trainer.accelerator.state, "`eval_benchmarks` sample", "Use vLLM, or leave them out."
            )
        trainer.add_callback(BenchmarkCallback(trainer, benchmarks))


def _rewards(script_args: Any) -> list[RewardFunction]:
    if not script_args.reward_funcs:
        raise UserError("`measure_steps` needs a reward: set `reward_funcs` to a registered name or a dotted path.")
    names = script_args.reward_funcs if isinstance(script_args.reward_funcs, list) else [script_args.reward_funcs]
    arguments = script_args.reward_kwargs or {}
    if unknown := set(arguments) - set(names):
        raise UserError(
            f"`reward_kwargs` names {', '.join(sorted(unknown))}, which is not one of `reward_funcs`: "
            f"{', '.join(names)}."
        )
    return [load_reward(name, arguments.get(name)) for name in names]


def _check_columns(rewards: list[RewardFunction], dataset: Any) -> None:
    columns = list(next(iter(dataset), {}))
    for reward in rewards:
        missing = [name for name in columns_read_by(reward) if columns and name not in columns]
        if missing:
            raise UserError(
                f"the reward {reward.__name__!r} reads the column '{missing[0]}', and the dataset has: "
                f"{', '.join(columns)}. Rename one of them, or take another reward."
            )
        column = getattr(reward, "solution_column", None)
        if column and columns and column not in columns:
            raise UserError(
                f"the reward {reward.__name__!r} reads the right answers in the column '{column}', and the dataset "
                f"has: {', '.join(columns)}. Set `reward_kwargs: {{{reward.__name__}: {{solution_column: ...}}}}`."
            )


def columns_read_by(reward: RewardFunction) -> list[str]:
    """The arguments without which a reward cannot be called, besides those that TRL gives to each."""
    needed = [
        name
        for name, parameter in inspect.signature(reward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    return [name for name in needed if name not in GIVEN_TO_REWARDS]


def _model_path(script_args: Any, model_args: ModelConfig) -> str | None:
    from prefix_rft_trl import lab

    is_lab = model_args.model_name_or_path == "lab"
    model = lab.base_model_path(script_args.lab_level) if is_lab else model_args.model_name_or_path
    if not script_args.model_changes or not model:
        return model
    return changed_model(model, ModelChanges.read(script_args.model_changes), model_args.model_revision)


def _model_init_kwargs(model_args: ModelConfig, training_args: Any) -> dict[str, Any]:
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training_args.model_init_kwargs or {}),
    }


def _held_out(splits: Any, script_args: Any, training_args: Any, rewards: list[RewardFunction] | None = None) -> Any:
    """What accuracy is measured on, by the first of the rewards; `None` if it is not.

    The rewards are those of the trainer, if it has any: one that keeps worker processes is not made twice.
    """
    if not script_args.measure_steps:
        return None
    rewards = rewards or _rewards(script_args)
    if script_args.measure_split not in splits:
        raise UserError(
            f"the dataset has no split '{script_args.measure_split}' to measure accuracy on; it has: "
            f"{', '.join(splits)}. Set `measure_split`, or `measure_steps: 0`."
        )
    rows = _prepared(splits, script_args.measure_split, script_args)
    number = script_args.measure_rows
    if number is not None and number < 1:
        raise UserError(f"`measure_rows` is at least 1, found {number}. Leave it out for all rows.")

    from datasets import Dataset, IterableDataset

    if isinstance(rows, IterableDataset):
        rows = Dataset.from_list(list(rows if number is None else rows.take(number)))
    elif number is not None:
        rows = rows.select(range(min(number, len(rows))))
    if len(rows) == 0:
        raise UserError(f"the split '{script_args.measure_split}', on which accuracy is to be measured, is empty.")
    _check_columns(rewards[:1], rows)

    from prefix_rft_trl.evaluation.held_out import HeldOut

    template_kwargs = getattr(training_args, "chat_template_kwargs", None) or {}
    return HeldOut(rows, rewards[0], script_args.measure_max_new_tokens, template_kwargs, rewards[1:])


def _measure(trainer: Any, held_out: Any, steps: int, tokens: Any) -> None:
    from prefix_rft_trl.run.curve import CurveWriter

    _check_model_is_whole(trainer.accelerator.state, "`measure_steps` samples", "Set it to 0.")

    def measure(model: Any) -> dict[str, float]:
        return held_out.measure(model, trainer.processing_class, trainer.accelerator)

    trainer.add_callback(CurveWriter(trainer.args.output_dir, steps, measure, tokens))


def _check_model_is_whole(state: Any, what: str, remedy: str) -> None:
    deepspeed = getattr(state, "deepspeed_plugin", None)
    if getattr(state, "fsdp_plugin", None) is not None or (deepspeed is not None and deepspeed.zero_stage == 3):
        raise UserError(f"{what} from a model that is whole on each process. {remedy}")
