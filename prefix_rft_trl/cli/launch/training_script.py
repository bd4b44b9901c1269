"""Train a recipe of one stage, in the process of `prefix-rft train` or in each process that it launches."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from trl import ModelConfig

from prefix_rft_trl.run.checkpoints import resolve_checkpoint
from prefix_rft_trl.run.environment import RunEnvironment
from prefix_rft_trl.run.finite import WeightsNotFinite
from prefix_rft_trl.run.folder import CURVE, STATE, is_finished, last_checkpoint
from prefix_rft_trl.run.settings import RunSettings
from prefix_rft_trl.run.stopping import StopOnSignal
from prefix_rft_trl.run.used_folder import begin_planned_run
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.faults import report
from prefix_rft_trl.utils.files import check_writable_folder, named_in_errors

from .agents import AGENT_SETTINGS
from .arguments import PrefixScriptArguments
from .launching import NUM_PROCESSES, note_exit_code, sampling_command
from .packages import check_packages
from .recipe import Recipe
from .trainers import TRAINERS, PreparedTraining


RESUME_LAST = ("last", "True", "true", True)
PARTS = ("*model*.safetensors", "tokenizer_config.json", "README.md", STATE)  # of what the end of a run writes


def main(argv: list[str] | None = None) -> int:
    return train(Recipe.read(sys.argv[1:] if argv is None else argv))


def train(recipe: Recipe) -> int:
    """Trains a recipe; returns its exit code: 0 done, 1 failed, 2 refused, 130 stopped by the user."""
    is_heard = int(os.environ.get("LOCAL_RANK", 0)) == 0
    try:
        prepared = _prepare(recipe)
    except (KeyboardInterrupt, Exception) as error:
        return report("train", error, is_heard)
    try:
        return _run(*prepared)
    except (KeyboardInterrupt, Exception) as error:
        return report("train", error, is_heard, is_at_work=True)


def _prepare(recipe: Recipe) -> tuple[Any, PrefixScriptArguments, Any, bool]:
    """The trainer, with the settings it does not have itself, its prompts, and whether its run has ended before."""
    with as_user_error(ValueError):
        script_args, training_args, model_args = recipe.parse()
        started = training_args.world_size
        check_number_of_processes(started, int(os.environ.get(NUM_PROCESSES, started)))
        if training_args.fsdp and training_args.world_size == 1:
            raise UserError("`fsdp` shards a model over processes, and this run has one. Add `--num_processes`.")
        if training_args.process_index == 0:
            check_writable_folder(Path(training_args.output_dir))
        resume = training_args.resume_from_checkpoint
        training_args.resume_from_checkpoint = resolve_checkpoint(training_args.output_dir, resume)
        trainer, prompts = make_trainer(script_args, training_args, model_args)
        trainer.refuse_other_run(training_args.resume_from_checkpoint)
    return trainer, script_args, prompts, resume in RESUME_LAST and has_ended(trainer)


def _run(trainer: Any, script_args: PrefixScriptArguments, prompts: Any, is_over: bool) -> int:
    if is_over:
        trainer.accelerator.print(f"\nThe run in {trainer.args.output_dir} is finished: nothing is left to train.")
        exit_code = 0
    else:
        exit_code = _train_and_save(trainer, script_args, prompts)
    trainer.accelerator.wait_for_everyone()  # or one process tears down what another still communicates with
    trainer.accelerator.end_training()
    note_exit_code(exit_code)
    return exit_code


def _train_and_save(trainer: Any, script_args: PrefixScriptArguments, prompts: Any) -> int:
    training_args = trainer.args
    folder = training_args.output_dir
    trainer.accelerator.wait_for_everyone()  # until every process has seen whether the run is finished
    if trainer.accelerator.is_main_process:
        fingerprint, trainer.record = begin_planned_run()
        trainer.example_prompt = prompts[0]
        RunSettings.from_recipe(script_args, training_args, prompts).write(folder, fingerprint)
        RunEnvironment.current(training_args).append_to(folder)
        Path(folder, STATE).unlink(missing_ok=True)  # until this run is finished too
    try:
        with StopOnSignal(trainer) as stop:
            trainer.train(training_args.resume_from_checkpoint)
    except WeightsNotFinite as error:
        trainer.accelerator.print(f"prefix-rft train: {error}", file=sys.stderr)
        return 1
    if stop.signal:
        trainer.accelerator.print(
            f"\nStopped at step {trainer.state.global_step} of {trainer.state.max_steps}, with the checkpoint "
            f"{last_checkpoint(folder)}. To resume, repeat the command with `--resume_from_checkpoint last`."
        )
    elif trainer.state.global_step:
        with named_in_errors(Path(folder)):
            _finish(trainer, script_args, training_args, prompts[0])
    else:
        trainer.accelerator.print("\nNo step was made, so nothing was trained: the dataset does not fill a batch.")
        return 1
    return stop.exit_code


def has_ended(trainer: Any) -> bool:
    """Whether the folder of a run says that it reached the last step of these settings, and holds what it wrote."""
    folder = Path(trainer.args.output_dir)
    if not is_finished(folder) or not all(any(folder.glob(part)) for part in PARTS):
        return False
    last_step = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    return json.loads((folder / STATE).read_text(encoding="utf-8"))["global_step"] >= last_step


def make_trainer(script_args: PrefixScriptArguments, training_args: Any, model_args: ModelConfig) -> tuple[Any, Any]:
    """The trainer of a recipe and its first prompts."""
    prepared = prepare_training(script_args, training_args, model_args)
    return prepared.load(), prepared.prompts


def prepare_training(
    script_args: PrefixScriptArguments, training_args: Any, model_args: ModelConfig
) -> PreparedTraining:
    """The training of a recipe, with its packages, data, rewards and the files of its model checked.

    Raises:
        UserError or ValueError: naming what cannot be used.
    """
    if not model_args.model_name_or_path:
        raise UserError("no model: set `model_name_or_path` to a folder, a name on the Hub, or `lab`.")
    check_packages(training_args, model_args)
    return TRAINERS[script_args.trainer](script_args, training_args, model_args)


def check_number_of_processes(started: int, requested: int) -> None:
    """Raises a `UserError` if accelerate does not start as many processes as it was asked for."""
    if started != requested:
        raise UserError(
            f"asked for {requested} processes, but accelerate started {started}. Without that many GPUs, pass an "
            "`--accelerate_config` that has `distributed_type: MULTI_GPU` and `use_cpu: true`."
        )


def _finish(trainer: Any, script_args: PrefixScriptArguments, training_args: Any, first_prompt: Any) -> None:
    """Saves the model and its card, and prints where they are."""
    folder = training_args.output_dir
    trainer.save_model(folder)
    trainer.create_model_card(Path(folder).name)
    if training_args.push_to_hub:
        trainer.push_to_hub()
    trainer.save_state()  # last: it marks the run as finished
    sampling = _how_to_sample(script_args, training_args, first_prompt)
    trainer.accelerator.print(f"\nThe model is in {folder}. {sampling}")
    if script_args.measure_steps:
        trainer.accelerator.print(f"\nThe curve is in {Path(folder) / CURVE}.")


def _how_to_sample(script_args: PrefixScriptArguments, training_args: Any, first_prompt: Any) -> str:
    """A line for the shell, or the reason why there is none: a pipeline calls no tools, nor are they in its prompt."""
    if given := next((name for name in AGENT_SETTINGS if getattr(script_args, name)), None):
        return f"Its answers need the `{given}` of its training: a pipeline without them has another prompt."
    budget = getattr(training_args, "max_completion_length", script_args.measure_max_new_tokens)
    line = sampling_command(training_args.output_dir, first_prompt, min(budget, 256))
    return f"To sample from it:\n\n  {line}"


if __name__ == "__main__":
    sys.exit(main())
