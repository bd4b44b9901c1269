"""Record how a run was started, for its model card."""

import shlex
from collections.abc import Sequence

from prefix_rft_trl.run.fingerprint import DATASET, MODEL, RunFingerprint, is_of_training
from prefix_rft_trl.run.record import RunRecord, shown
from prefix_rft_trl.utils.recipe_files import FOLDER
from prefix_rft_trl.utils.redaction import redacted

from .arguments import make_parser
from .recipe import Recipe, grouped


SHOWN_APART = ("seed", "stages")


def run_record(
    recipe: Recipe, trainings: Sequence[Recipe], fingerprint: RunFingerprint, first: RunFingerprint
) -> RunRecord:
    """The record of the last of these trainings of a recipe, with its fingerprint and that of the first."""
    training = trainings[-1]
    parser = make_parser(training.trainer)
    given = {*training.settings, *(name for name, _ in grouped(training.flags))} - {*SHOWN_APART}
    values = {name: value for name, value in fingerprint.settings.items() if name in given}
    return RunRecord.at_start(
        model=first.settings.get(MODEL, {}).get("name", ""),
        dataset=fingerprint.settings.get(DATASET, {}).get("name", ""),
        settings={name: value for name, value in values.items() if value != parser.get_default(name)},
        command=public_command(recipe),
        stages_before=[earlier.stage for earlier in trainings[:-1]],
    )


def public_command(recipe: Recipe) -> str:
    """The command that trains a recipe, without where it writes and reports, secrets and folders of the machine."""
    words = ["prefix-rft", "train"]
    if recipe.path is not None:
        is_of_package = recipe.path.is_relative_to(FOLDER)
        words += ["--config", str(recipe.path.relative_to(FOLDER)) if is_of_package else shown(str(recipe.path))]
    for name, values in grouped(recipe.flags):
        if is_of_training(name.rpartition(".")[2]):
            words += [f"--{name}", *(shown(redacted(value, name)) for value in values)]
    return shlex.join(words)
