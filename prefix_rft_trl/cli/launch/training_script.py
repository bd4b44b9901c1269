"""What `prefix-rft train` launches on every process: dataset, rewards, trainer, and where the model is at the end."""

import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl import ModelConfig, ScriptArguments, SFTConfig, TrlParser

from prefix_rft_trl.cli.json_flags import read_dict
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.data.loading import name_on_hub
from prefix_rft_trl.run.checkpoints import checkpoint_to_go_on_from
from prefix_rft_trl.run.deepspeed import refuse_dropped_micro_batches_of
from prefix_rft_trl.run.folder import CURVE, last_checkpoint
from prefix_rft_trl.run.settings import RunSettings
from prefix_rft_trl.run.stopping import StopOnSignal
from prefix_rft_trl.utils.errors import UserError

from .launching import NUM_PROCESSES, note_exit_code
from .recipe import trainer_of
from .sample_command import sampling_command
from .trainers import TRAINERS


@dataclass
class DemonstrationSFTConfig(SFTConfig):
    """
    SFTConfig for the datasets of Prefix-RFT.

    Args:
        demonstration_column (`str`, *optional*, defaults to `"completion"`): column that holds the demonstrations.
        chat_template_kwargs (`dict`, *optional*): further arguments of the chat template, as of [`~trl.GRPOConfig`].
        max_length (`int`, *optional*): tokens that a row is cut to; by default it is not cut, unlike in TRL, where a
            demonstration of long reasoning would lose its answer.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    max_length: int | None = field(default=None, metadata={"help": "Tokens that a row is cut to; none by default."})
    chat_template_kwargs: dict | str | None = field(
        default=None, metadata={"help": "Further arguments of the chat template."}
    )

    demonstration_column: str = field(default="completion", metadata={"help": "Column that holds the demonstrations."})

    def __post_init__(self):
        super().__post_init__()
        refuse_dropped_micro_batches_of(self)


CONFIGS = {"prefix_grpo": PrefixGRPOConfig, "sft": DemonstrationSFTConfig}


@dataclass
class PrefixScriptArguments(ScriptArguments):
    """
    Arguments of the training script, besides those of the trainer and the model.

    Args:
        trainer (`str`, *optional*, defaults to `"prefix_grpo"`): `"prefix_grpo"`, or `"sft"` for TRL's `SFTTrainer`.
        reward_funcs (`list[str]`): rewards by registered name (`prefix_rft_trl/rewards/registry.py`) or dotted path.
        reward_kwargs (`dict`, *optional*): for each reward that takes any, its arguments by name, such as
            `{"math_accuracy_reward": {"time_limit": 2}}`.
        model_changes (`dict`, *optional*): context, chat template or end of turn that the model gets before it is
            trained, in a folder of its own (`prefix_rft_trl/models/changes.py`).
        prompt_column (`str`, *optional*, defaults to `"prompt"`): column of the prompts.
        instruction (`str`, *optional*): text put after each prompt that is plain text, on a line of its own.
        conversational (`bool`, *optional*, defaults to `False`): whether to make plain prompts a user's message.
        measure_steps (`int`, *optional*, defaults to 0): optimizer steps between two measurements of the accuracy on
            held-out problems without any prefix, by the first of the rewards, written to `curve.jsonl`; 0 measures
            nothing.
        measure_split (`str`, *optional*, defaults to `"test"`): split of the dataset that is held out.
        measure_rows (`int`, *optional*): how many of its first rows; defaults to all.
        measure_max_new_tokens (`int`, *optional*, defaults to 512): budget of an answer in tokens.
        eval_benchmarks (`list[str]`, *optional*): what each evaluation of `eval_strategy` asks, in the place of the
            test split, by the code of `prefix-rft eval`: benchmarks as it knows them. SFT has its loss on the test
            split besides.
        eval_num_samples (`int`, *optional*): answers to each of their problems.
        eval_num_problems (`int`, *optional*): how many of their first problems; defaults to all.
        lab_level (`str`, *optional*, defaults to `"easy"`): level of the lab's task and base model, or `"hard"`.
        lab_style (`str`, *optional*, defaults to `"worked"`): style of the lab's demonstrations, or `"brief"`.
        lab_damaged_share (`float`, *optional*, defaults to 0.0): share of them with a wrong step.
        lab_demonstrated_share (`float`, *optional*, defaults to 1.0): share of the lab's problems that have one.
        reasoning_gym (`dict`, *optional*): of `dataset_name: reasoning_gym/<task>`, the problems of each split, `size`
            (1000) and `test_size` (200), their `seed` (0), and options of the task, such as `{"max_terms": 3}`.
    """

    trainer: str = field(default="prefix_grpo", metadata={"help": "Trainer of the recipe.", "choices": list(CONFIGS)})
    reward_funcs: list[str] | None = field(
        default=None, metadata={"help": "Rewards by registered name or dotted path."}
    )
    reward_kwargs: dict | str | None = field(default=None, metadata={"help": "Arguments of the rewards, by name."})
    model_changes: dict | str | None = field(
        default=None, metadata={"help": "Context, chat template or end of turn that the model gets first."}
    )
    prompt_column: str = field(default="prompt", metadata={"help": "Column of the prompts."})
    instruction: str | None = field(default=None, metadata={"help": "Text put after each prompt."})
    conversational: bool = field(default=False, metadata={"help": "Make each plain prompt the message of a user."})
    measure_steps: int = field(default=0, metadata={"help": "Steps between two measurements; 0 measures nothing."})
    measure_split: str = field(default="test", metadata={"help": "Split that is held out."})
    measure_rows: int | None = field(default=None, metadata={"help": "How many of its first rows."})
    measure_max_new_tokens: int = field(default=512, metadata={"help": "Budget of a held-out answer in tokens."})
    eval_benchmarks: list[str] | None = field(default=None, metadata={"help": "Benchmarks of `eval_strategy`."})
    eval_num_samples: int | None = field(default=None, metadata={"help": "Answers to each of their problems."})
    eval_num_problems: int | None = field(default=None, metadata={"help": "How many of their first problems."})
    lab_level: str = field(default="easy", metadata={"help": "Level of the lab: `easy` or `hard`."})
    lab_style: str = field(default="worked", metadata={"help": "Style of the lab's demonstrations."})
    lab_damaged_share: float = field(default=0.0, metadata={"help": "Share of them with a wrong step."})
    lab_demonstrated_share: float = field(default=1.0, metadata={"help": "Share of the problems that have one."})
    reasoning_gym: dict | str | None = field(
        default=None, metadata={"help": "Size, test_size, seed and options of a task of reasoning-gym."}
    )

    def __post_init__(self):
        for setting in ("reward_kwargs", "reasoning_gym", "model_changes"):
            setattr(self, setting, read_dict(setting, getattr(self, setting)))


class SettingsParser(TrlParser):
    """TrlParser, which says what is wrong with a setting without printing all 300 of them."""

    def error(self, message: str):
        raise UserError(f"{message.rstrip('.')}. `prefix-rft train --help` lists the settings.")


def make_parser(trainer: str = "prefix_grpo") -> SettingsParser:
    if trainer not in CONFIGS:
        raise UserError(f"unknown trainer {trainer!r}. Known: {', '.join(CONFIGS)}.")
    of_trainer = (PrefixScriptArguments, CONFIGS[trainer], ModelConfig)
    return SettingsParser(of_trainer, prog="prefix-rft train", allow_abbrev=False)


def make_trainer(script_args: PrefixScriptArguments, training_args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    """The trainer of a recipe and its first training prompts.

    What is wrong with the data or the rewards is said before the model is loaded.
    """
    if not model_args.model_name_or_path:
        raise UserError("no model: set `model_name_or_path` to a folder, a name on the Hub, or `lab`.")
    return TRAINERS[script_args.trainer](script_args, training_args, model_args)


def _check_number_of_processes(started: int) -> None:
    asked_for = int(os.environ.get(NUM_PROCESSES, started))
    if started != asked_for:
        raise UserError(
            f"asked for {asked_for} processes, but accelerate started {started}. Without as many GPUs it takes a "
            "configuration with `distributed_type: MULTI_GPU` and `use_cpu: true`, given by `--accelerate_config`."
        )


def main(argv: list[str] | None = None) -> int:
    """Trains a recipe of one stage; returns 0, 2 if it could not be started, or 130 if the user stopped it."""
    argv = sys.argv[1:] if argv is None else argv
    # TRL 1.16 names its own default by the older name, in each run
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
    try:
        # Settings of the launcher may stand in the recipe; what nobody knows was refused before this was launched
        parser = make_parser(trainer_of(argv))
        script_args, training_args, model_args = parser.parse_args_and_config(argv, fail_with_unknown_args=False)
        _check_number_of_processes(training_args.world_size)
        training_args.resume_from_checkpoint = checkpoint_to_go_on_from(
            training_args.output_dir, training_args.resume_from_checkpoint
        )
        trainer, prompts = make_trainer(script_args, training_args, model_args)
    except (UserError, ValueError, OSError) as error:
        if int(os.environ.get("LOCAL_RANK", 0)) == 0:
            print(f"prefix-rft train: {error}", file=sys.stderr)
        return 2
    if trainer.accelerator.is_main_process:
        RunSettings.from_recipe(script_args, training_args, prompts).write(training_args.output_dir)
    with StopOnSignal(trainer) as stop:
        trainer.train(training_args.resume_from_checkpoint)
    if stop.signal:
        trainer.accelerator.print(
            f"\nStopped at step {trainer.state.global_step} of {trainer.state.max_steps}, with the checkpoint "
            f"{last_checkpoint(training_args.output_dir)}. To go on, give the same command with "
            "`--resume_from_checkpoint last`."
        )
    else:
        _finish(trainer, script_args, training_args, prompts[0])
    trainer.accelerator.wait_for_everyone()  # or a process may tear down what another still talks to
    trainer.accelerator.end_training()
    note_exit_code(stop.exit_code)
    return stop.exit_code


def _finish(trainer: Any, script_args: PrefixScriptArguments, training_args: Any, first_prompt: Any) -> None:
    """Saves the model and its card, and says where they are."""
    trainer.save_model(training_args.output_dir)
    dataset = name_on_hub(script_args.dataset_name)
    trainer.create_model_card(Path(training_args.output_dir).name, dataset)
    if training_args.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset)
    trainer.save_state()  # last: `trainer_state.json` in the folder tells a run that has ended
    budget = getattr(training_args, "max_completion_length", script_args.measure_max_new_tokens)
    trainer.accelerator.print(
        f"\nThe model is in {training_args.output_dir}. To sample from it:\n\n  "
        + sampling_command(training_args.output_dir, first_prompt, min(budget, 256))
    )
    if script_args.measure_steps:
        trainer.accelerator.print(f"\nThe curve is in {Path(training_args.output_dir) / CURVE}.")


if __name__ == "__main__":
    sys.exit(main())
