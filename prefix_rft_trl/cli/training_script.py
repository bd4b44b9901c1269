"""What `prefix-rft train` launches on every process: dataset, rewards, trainer, and where the model is at the end."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl import ModelConfig, ScriptArguments, TrlParser

from prefix_rft_trl.cli.data import load_splits, name_on_hub, pick_split, with_prompts
from prefix_rft_trl.cli.errors import UserError
from prefix_rft_trl.cli.sampling import sampling_command
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.rewards import REWARDS_OF_MESSAGES, load_reward


@dataclass
class PrefixScriptArguments(ScriptArguments):
    """
    Arguments of the training script, besides those of the trainer and the model.

    Args:
        reward_funcs (`list[str]`): rewards by registered name (`prefix_rft_trl/rewards.py`) or dotted path.
        prompt_column (`str`, *optional*, defaults to `"prompt"`): column of the prompts.
        instruction (`str`, *optional*): text put after each prompt that is plain text, on a line of its own.
        conversational (`bool`, *optional*, defaults to `False`): whether to make plain prompts a user's message.
    """

    reward_funcs: list[str] | None = field(
        default=None, metadata={"help": "Rewards by registered name or dotted path."}
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the prompts."})
    instruction: str | None = field(default=None, metadata={"help": "Text put after each prompt."})
    conversational: bool = field(default=False, metadata={"help": "Make each plain prompt the message of a user."})


class SettingsParser(TrlParser):
    """TrlParser, which says what is wrong with a setting without printing all 300 of them."""

    def error(self, message: str):
        raise UserError(f"{message.rstrip('.')}. `prefix-rft train --help` lists the settings.")


def make_parser() -> SettingsParser:
    return SettingsParser((PrefixScriptArguments, PrefixGRPOConfig, ModelConfig), prog="prefix-rft train")


def make_trainer(script_args: PrefixScriptArguments, training_args: PrefixGRPOConfig, model_args: ModelConfig):
    """The trainer of a recipe; what is wrong with the data or the rewards is said before the model is loaded."""
    if not model_args.model_name_or_path:
        raise UserError("no model: set `model_name_or_path` to a folder, a name on the Hub, or `lab`.")
    if not script_args.reward_funcs:
        raise UserError("no reward: set `reward_funcs` to a registered name or a dotted path.")
    names = script_args.reward_funcs if isinstance(script_args.reward_funcs, list) else [script_args.reward_funcs]
    rewards = [load_reward(name) for name in names]
    splits = load_splits(script_args.dataset_name, script_args.dataset_config, script_args.dataset_streaming)

    def prepared(split: str) -> Any:
        return with_prompts(
            pick_split(splits, split),
            script_args.prompt_column,
            script_args.instruction,
            script_args.conversational,
        )

    train_dataset = prepared(script_args.dataset_train_split)
    _check_rewards_fit_prompts(names, train_dataset)

    from trl import get_peft_config, get_quantization_config

    from prefix_rft_trl import PrefixGRPOTrainer, lab

    training_args.model_init_kwargs = {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training_args.model_init_kwargs or {}),
    }
    is_lab = model_args.model_name_or_path == "lab"
    return PrefixGRPOTrainer(
        model=lab.base_model_path() if is_lab else model_args.model_name_or_path,
        reward_funcs=rewards,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=prepared(script_args.dataset_test_split) if training_args.eval_strategy != "no" else None,
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
    )


def _check_rewards_fit_prompts(names: list[str], dataset: Any) -> None:
    first: dict[str, Any] = next(iter(dataset), {})
    of_messages = [name for name in names if name in REWARDS_OF_MESSAGES]
    if of_messages and isinstance(first.get("prompt"), str):
        raise UserError(
            f"the reward {of_messages[0]!r} reads messages, and the prompts are text. Set `conversational: true`."
        )


def _check_number_of_processes(started: int) -> None:
    asked_for = int(os.environ.get("PREFIX_RFT_NUM_PROCESSES", started))
    if started != asked_for:
        raise UserError(
            f"asked for {asked_for} processes, but accelerate started {started}. Without as many GPUs it takes a "
            "configuration with `distributed_type: MULTI_GPU` and `use_cpu: true`, given by `--accelerate_config`."
        )


def main() -> int:
    try:
        # Settings of the launcher may stand in the recipe; what nobody knows was refused before this was launched
        script_args, training_args, model_args = make_parser().parse_args_and_config(fail_with_unknown_args=False)
        _check_number_of_processes(training_args.world_size)
        trainer = make_trainer(script_args, training_args, model_args)
    except (UserError, ValueError, OSError) as error:
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print(f"prefix-rft train: {error}", file=sys.stderr)
        return 2
    trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
    trainer.save_model(training_args.output_dir)
    dataset = name_on_hub(script_args.dataset_name)
    trainer.create_model_card(Path(training_args.output_dir).name, dataset)
    if training_args.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset)
    prompt = next(iter(trainer.train_dataset))["prompt"]
    trainer.accelerator.print(
        f"\nThe model is in {training_args.output_dir}. To sample from it:\n\n  "
        + sampling_command(training_args.output_dir, prompt, min(training_args.max_completion_length, 256))
    )
    trainer.accelerator.end_training()
    return 0


if __name__ == "__main__":
    sys.exit(main())
