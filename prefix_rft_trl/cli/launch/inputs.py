"""Check what the trainings of a recipe read, before any of them starts and without loading a model."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, NamedTuple

from accelerate.commands.launch import launch_command_parser

from prefix_rft_trl.rewards.registry import required_columns
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.hashing import stable_hash

from .arguments import SCRIPT, split_launcher_flags
from .launching import has_default_config
from .recipe import Recipe
from .training_script import prepare_training


MODEL = ("model_name_or_path", "model_revision", "model_changes", "lab_level")


class MeasuredProblems(NamedTuple):
    """The held-out problems that a training measures: their number, and a hash of their prompts and right answers."""

    number: int
    content: int

    @classmethod
    def of(cls, held_out: Any) -> "MeasuredProblems":
        """Those of a [`HeldOutSplit`], with what its reward reads of them."""
        columns = [list(held_out.rows[name]) for name in ("prompt", *required_columns(held_out.reward))]
        return cls(len(held_out.rows), stable_hash(json.dumps(columns, sort_keys=True, default=str)))


def check_inputs(trainings: list[Recipe]) -> list[MeasuredProblems]:
    """
    Makes the checks that each training makes at its start: packages, files of the model, dataset, splits, columns of
    the rewards, rows, and whether they fill a step.

    Args:
        trainings (`list[Recipe]`): of a recipe, with settings that are checked. A later one is checked with the model
            of the first, as its own is not there yet.

    Returns:
        `list[MeasuredProblems]`: those of each training that measures accuracy.

    Raises:
        UserError or ValueError: naming what cannot be used.
    """
    first = trainings[0].parser.parse_known_args(trainings[0].flags)[0]
    model = {name: getattr(first, name) for name in MODEL}
    measured = []
    for training in trainings:
        settings = training.settings if training is trainings[0] else {**training.settings, **model}
        try:
            with _environment(settings.get("env") or {}):
                prepared = prepare_training(*_arguments(replace(training, settings=settings)))
                prepared.check()
        except (UserError, ValueError) as error:
            raise UserError(f"stage '{training.stage}': {error}" if training.stage else str(error)) from error
        if prepared.held_out is not None:
            measured.append(MeasuredProblems.of(prepared.held_out))
    return measured


def _arguments(recipe: Recipe) -> tuple[Any, Any, Any]:
    """The arguments of script, trainer and model; those of a trainer that is launched as one of its processes."""
    launcher_flags, recipe = split_launcher_flags(recipe)
    parser = recipe.parser
    if not launcher_flags and not has_default_config():
        return parser.parse_args_into_dataclasses([*recipe.flags, "--output_dir", "runs"])
    launcher = launch_command_parser().parse_args([*launcher_flags, SCRIPT])
    values = vars(parser.parse_known_args(recipe.flags)[0])
    script, trainer, model = parser.dataclass_types
    script_args, model_args = (
        kind(**{field.name: values[field.name] for field in fields(kind) if field.init}) for kind in (script, model)
    )
    return script_args, _unmade(trainer, values, launcher.num_processes or 1), model_args


def _unmade(kind: Any, values: dict[str, Any], processes: int) -> Any:
    """The settings of a trainer of several processes, which only those could make: they look for their devices."""
    given = {field.name: values[field.name] for field in fields(kind)}
    for name in kind._VALID_DICT_FIELDS:
        if isinstance(given[name], str) and given[name].startswith("{"):
            given[name] = json.loads(given[name])
    reporters = given["report_to"] or []
    reporters = [reporters] if isinstance(reporters, str) else reporters
    given |= {"report_to": [name for name in reporters if name not in ("none", "all")]}
    given |= {"distributed_state": None, "_n_gpu": 1}  # or it would look for them
    if "num_generations" in given:
        micro_steps = given["steps_per_generation"] or given["gradient_accumulation_steps"]
        rollouts = given["per_device_train_batch_size"] * processes * micro_steps
        given |= {"steps_per_generation": micro_steps}
        given |= {"generation_batch_size": given["generation_batch_size"] or rollouts}
    unmade = kind.__new__(kind)
    vars(unmade).update(given)
    return unmade


@contextmanager
def _environment(variables: dict[str, Any]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
