"""`prefix-rft train --dry_run`: what a training does before its model is loaded, and what it would do then.

Config and tokenizer of the model are read, its weights are not. A fault of this machine alone, such as a GPU that it
lacks, is raised when all that can be said without it has been printed.
"""

import math
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.commands import launch as accelerate_launch
from transformers import AutoConfig, TrainingArguments

from prefix_rft_trl.estimates.devices import Device, device_here
from prefix_rft_trl.estimates.model_size import ModelSize
from prefix_rft_trl.models.changes import previewed_model
from prefix_rft_trl.models.sources import explain_missing_model
from prefix_rft_trl.run.checkpoints import resolve_checkpoint
from prefix_rft_trl.run.folder import is_finished
from prefix_rft_trl.run.used_folder import PlannedRun
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.faults import install_command
from prefix_rft_trl.utils.files import check_writable_folder
from prefix_rft_trl.utils.patching import replaced
from prefix_rft_trl.utils.printable import printable

from .arguments import split_launcher_flags
from .dry_run_page import describe
from .first_rows import FirstRows
from .launching import check_gpu, has_default_config
from .packages import check_packages
from .recipe import Recipe
from .trainers import TRAINERS, PreparedTraining
from .training_script import check_number_of_processes


ON_CPU = ["--use_cpu", "true", "--bf16", "false", "--fp16", "false"]  # for the settings of a GPU that is not there


@dataclass(frozen=True)
class Processes:
    """The processes of a training: how many, and how many of them share gradients and optimizer."""

    number: int
    shards: int


@dataclass(frozen=True)
class StagePreview:
    """What is known of a training before its model is loaded.

    Attributes:
        recipe (`Recipe`), run (`PlannedRun`): the settings as they were given, and where it runs.
        values (`dict`): all settings of script, trainer and model.
        plan (`PreparedTraining`): its trainer.
        processes (`Processes`): those that train.
        steps (`int`, *optional*): optimizer steps; `None` if they cannot be counted.
        checkpoint (`str`, *optional*): what it resumes from.
        rows (`FirstRows`): its first rows.
        size (`ModelSize`, *optional*), device (`Device`): for the estimates.
    """

    recipe: Recipe
    run: PlannedRun
    values: dict[str, Any]
    plan: PreparedTraining
    processes: Processes
    steps: int | None
    checkpoint: str | None
    rows: FirstRows
    size: ModelSize | None
    device: Device


def dry_run(trainings: list[Recipe], planned: list[PlannedRun], removed: list[Path]) -> int:
    """Prints what a training and its stages would do, without doing it.

    Args:
        trainings (`list[Recipe]`), planned (`list[PlannedRun]`): one for each stage.
        removed (`list[Path]`): folders of earlier runs that the training would remove.

    Raises:
        UserError: as the training would.
    """
    faults: list[UserError] = []
    model = ""
    with tempfile.TemporaryDirectory() as scratch:
        for number, (training, run) in enumerate(zip(trainings, planned, strict=True), 1):
            if training.stage:
                print(f"Stage {number} of {len(trainings)}: {training.stage}\n")
            try:
                with as_user_error(ValueError):
                    preview = _preview(training, run, model, Path(scratch), faults)
            except UserError as error:
                raise UserError(f"stage '{training.stage}': {error}" if training.stage else str(error)) from error
            model = model or preview.plan.arguments["model"]
            if run.resumes_here and is_finished(run.folder):
                print(f"The run in {run.folder} is finished: nothing is left to train.\n")
            else:
                print(printable("\n".join(describe(preview, run.folder in removed))), end="\n\n")
    for fault in faults:
        raise fault
    print("Nothing was trained or written. To train, leave out --dry_run.")
    return 0


def _preview(training: Recipe, run: PlannedRun, model: str, scratch: Path, faults: list[UserError]) -> StagePreview:
    """
    Args:
        model (`str`): that of the first stage, in place of the one that the stage before would train.
        scratch (`Path`): a folder for the config and tokenizer of a changed model.
        faults (`list[UserError]`): takes those of this machine.
    """
    launcher_flags, recipe = split_launcher_flags(training)
    given = recipe.parser.parse_known_args(recipe.flags)[0]
    can_run = _notes(faults, check_gpu, given)
    processes = launched_processes(launcher_flags, given, can_run, faults)
    with as_launched(processes.number):
        parts = _parse(recipe, [] if can_run else ON_CPU)
        script_args, training_args, model_args = parts
        if not model_args.model_name_or_path:
            raise UserError("no model: set `model_name_or_path` to a folder, a name on the Hub, or `lab`.")
        _notes(faults, check_packages, training_args, model_args)
        check_writable_folder(Path(training_args.output_dir))
        checkpoint = resolve_checkpoint(training_args.output_dir, training_args.resume_from_checkpoint)
        find_model = (lambda *_: model) if model else partial(previewed_model, scratch=scratch)
        plan = TRAINERS[script_args.trainer](script_args, training_args, model_args, find_model)
        plan.check()
        start, dataset = plan.arguments["model"], plan.arguments["train_dataset"]
        steps = count_steps(dataset, training_args)
        with explain_missing_model(start):
            source = {"revision": model_args.model_revision, "trust_remote_code": training_args.trust_remote_code}
            config = AutoConfig.from_pretrained(start, **source)
        return StagePreview(
            training,
            run,
            {name: value for part in parts for name, value in vars(part).items()},
            plan,
            processes,
            steps,
            checkpoint,
            FirstRows(plan.arguments, steps or 0),
            ModelSize.from_config(config),
            device_here(on_cpu=can_run and not (torch.cuda.is_available() and not given.use_cpu)),
        )


def _notes(faults: list[UserError], check: Any, *arguments: Any) -> bool:
    """Whether a check passes; what it raises is noted."""
    try:
        check(*arguments)
    except UserError as error:
        faults.append(error)
        return False
    return True


def launched_processes(
    launcher_flags: list[str], given: Namespace, can_run: bool, faults: list[UserError]
) -> Processes:
    """The processes that accelerate's launcher would start."""
    if given.use_cpu and not launcher_flags and not has_default_config():
        return Processes(1, 1)
    line = accelerate_launch.launch_command_parser().parse_args([*launcher_flags, "--quiet", "script.py"])
    requested = line.num_processes
    with as_user_error(ValueError), replaced(accelerate_launch.logger, "disabled", True):
        launched = accelerate_launch._validate_launch_command(line)[0]
    shares = launched.use_deepspeed or launched.use_fsdp
    if launched.use_deepspeed and not find_spec("deepspeed"):
        faults.append(UserError(f"DeepSpeed is not installed: {install_command('deepspeed')}."))
    number = launched.num_processes if (shares or launched.multi_gpu) and not launched.cpu else 1
    if not can_run:
        number = launched.num_processes or requested or 1
    elif requested is not None:
        _notes(faults, check_number_of_processes, number, requested)
    return Processes(number, number if shares else 1)


@contextmanager
def as_launched(processes: int) -> Iterator[None]:
    """Settings that are made in the block count as many processes as would be launched, each with one device."""
    with (
        replaced(TrainingArguments, "world_size", property(lambda _: processes)),
        replaced(TrainingArguments, "n_gpu", property(lambda _: 1)),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield


def _parse(recipe: Recipe, overrides: list[str]) -> tuple[Any, ...]:
    return replace(recipe, flags=[*recipe.flags, *overrides]).parse()


def count_steps(dataset: Any, args: Any) -> int | None:
    """Optimizer steps, as transformers' Trainer counts them; `None` where SFT packs rows."""
    if args.max_steps > 0:
        return args.max_steps
    if not hasattr(dataset, "__len__") or getattr(args, "packing", False):
        return None
    if hasattr(args, "num_generations"):
        batches = len(dataset) * args.num_generations // args.generation_batch_size
        passes = batches * args.num_iterations * args.steps_per_generation
    else:
        count = math.floor if args.dataloader_drop_last else math.ceil
        passes = count(len(dataset) / (args.per_device_train_batch_size * args.world_size))
    of_epoch = max(math.ceil(passes / args.gradient_accumulation_steps), 1)
    return math.ceil(args.num_train_epochs * of_epoch)
