"""`prefix-rft lab`, the quickstart: Prefix-RFT and plain GRPO from the same base model, side by side.

With `--real` the base model is SmolLM2-135M-Instruct, on sums that it does not solve by itself.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefix_rft_trl.comparison.jobs import LOG, Job, run_jobs
from prefix_rft_trl.comparison.trials import Trial
from prefix_rft_trl.lab.picture import LABELS, draw
from prefix_rft_trl.lab.real import smollm2, sums
from prefix_rft_trl.lab.task import sample_prompt
from prefix_rft_trl.run.fingerprint import RunFingerprint, describe_changes
from prefix_rft_trl.run.folder import is_finished, read_curve
from prefix_rft_trl.run.used_folder import holds_run, remove_run
from prefix_rft_trl.utils.errors import UserError, WorkError, as_user_error
from prefix_rft_trl.utils.files import exclusive_lock
from prefix_rft_trl.utils.recipe_files import FOLDER

from .flags import command_parser
from .launch.launching import sampling_command
from .launch.recipe import load_recipe


RESULTS, PICTURE = "results.json", "curves.png"
DESCRIPTION = """\
Train the lab's base model with Prefix-RFT and with plain GRPO (recipes/quickstart) on the same problems, with the same
number of rollouts. Writes a table, a plot of the curves and both models."""


@dataclass(frozen=True)
class Quickstart:
    """
    What is trained.

    Args:
        recipes (`dict[str, Path]`): by method.
        folder (`Path`): where everything goes, unless `--output_dir` says otherwise.
        example (`str`): a prompt to sample from the result with.
        overrides (`dict`, *optional*): settings of the recipes that are others here.
    """

    recipes: dict[str, Path]
    folder: Path
    example: str
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        return {**load_recipe(self.recipes["prefix_rft"]), **self.overrides}

    @property
    def steps(self) -> int:
        return self.overrides.get("max_steps") or load_recipe(self.recipes["prefix_rft"])["max_steps"]


TOY = Quickstart(
    {method: FOLDER / "quickstart" / f"{method}.yaml" for method in LABELS},
    Path("runs/lab"),
    sample_prompt(random.Random(0)),
)
REAL = Quickstart(
    {"prefix_rft": FOLDER / "smollm2" / "prefix_rft.yaml", "grpo": FOLDER / "smollm2" / "rft.yaml"},
    Path("runs/lab-real"),
    sums.sample_prompt(random.Random(0)),
    {"max_steps": 30, "measure_steps": 5, "measure_rows": 32},
)


def run(argv: list[str]) -> int:
    parser = command_parser("lab", DESCRIPTION)
    parser.add_argument("--real", action="store_true", help=f"a real model, {smollm2.NAME}: half an hour on 2 cores")
    parser.add_argument("--seed", type=int, default=0, help="seed of both runs (0)")
    defaults = " or, with --real, ".join(str(one.steps) for one in (TOY, REAL))
    parser.add_argument("--steps", type=int, help=f"optimizer steps of each run ({defaults})")
    folders = " or ".join(str(one.folder) for one in (TOY, REAL))
    parser.add_argument("--output_dir", type=Path, help=f"where everything goes ({folders})")
    parser.add_argument("--overwrite", action="store_true", help="train again if the folder holds a quickstart")
    arguments = parser.parse_args(argv)
    chosen = REAL if arguments.real else TOY
    settings = chosen.settings
    interval, steps = settings["measure_steps"], settings["max_steps"] if arguments.steps is None else arguments.steps
    if steps < interval:
        raise UserError(f"--steps must be at least {interval}, the first measurement; found {arguments.steps}.")
    folder = arguments.output_dir or chosen.folder
    curves = _train(chosen, folder, arguments.seed, steps, arguments.overwrite)
    base, results = curves["grpo"][0], {method: curve[-1] for method, curve in curves.items()}
    draw(curves, folder / PICTURE)
    found = {"seed": arguments.seed, "steps": steps, "base": base, **results}
    (folder / RESULTS).write_text(json.dumps(found, indent=2), encoding="utf-8")
    print(_table(base, results))
    print(f"\nThe curves are in {folder / PICTURE}, the figures in {folder / RESULTS}.")
    for method, label in LABELS.items():
        print(f"{label:<10} is in {folder / method}")
    command = sampling_command(str(folder / "prefix_rft"), chosen.example, settings["max_completion_length"])
    print(f"\nTo sample from the Prefix-RFT model:\n\n  {command}")
    return 0


def _train(
    chosen: Quickstart, folder: Path, seed: int, steps: int, overwrite: bool
) -> dict[str, list[dict[str, Any]]]:
    """Run both recipes at the same time, unless they are finished; return their learning curves by method."""
    offline = {"HF_HUB_OFFLINE": "1"}  # model and data come with packages
    overrides = {**chosen.overrides, "max_steps": steps}
    jobs = {
        method: Job(Trial(path, overrides, {}, 1), seed, folder / method, offline)
        for method, path in chosen.recipes.items()
    }
    if chosen is REAL and (overwrite or not all(is_finished(job.folder) for job in jobs.values())):
        smollm2.check_installed()  # before there is a folder
    with as_user_error(ValueError), exclusive_lock(folder):
        for job in jobs.values():
            _check_folder(job, overwrite)
        if (folder / RESULTS).is_file() and not any(job.folder.is_dir() for job in jobs.values()):
            raise UserError(f"{folder / RESULTS} is not of an earlier quickstart. Choose another --output_dir.")
        if overwrite:
            for path in (folder / RESULTS, folder / PICTURE):
                path.unlink(missing_ok=True)
            for job in jobs.values():
                remove_run(job.folder)
        if all(is_finished(job.folder) for job in jobs.values()):
            print(f"This quickstart is in {folder} already, finished: `--overwrite` trains it again.")
            return _curves(jobs)
        names = {job: LABELS[method] for method, job in jobs.items()}
        if chosen is REAL:
            smollm2.model_folder()  # before both runs ask for it
            print(f"Training {smollm2.NAME} twice, {steps} steps each: about a minute a step on 2 cores.", flush=True)
        failed = run_jobs(list(jobs.values()), len(jobs), names)
    for job in failed:
        raise WorkError(f"{names[job]} failed: {job.log_tail(1)[0]} The full log is {job.log}.")
    return _curves(jobs)


def _curves(jobs: dict[str, Job]) -> dict[str, list[dict[str, Any]]]:
    curves = {method: read_curve(job.folder) for method, job in jobs.items()}
    for line in (line for curve in curves.values() for line in curve):
        if "step_by_step_reward" in line:
            line["step_by_step"] = line.pop("step_by_step_reward")
    return curves


def _check_folder(job: Job, overwrite: bool) -> None:
    """Refuses a folder that holds files of the user, or another run that is not to be overwritten."""
    folder = job.folder
    if folder.is_dir() and any(folder.iterdir()) and not (folder / LOG).is_file():
        raise UserError(f"{folder} holds files that are not of an earlier quickstart. Choose another --output_dir.")
    if overwrite or not holds_run(folder):
        return
    here = {**load_recipe(job.trial.path), **job.trial.overrides, "seed": job.seed}
    there = RunFingerprint.read(folder)
    changes = there.changes(RunFingerprint.from_settings(here)) if there else []
    if changes or not there:
        difference = describe_changes(changes) or "of unknown settings"
        raise UserError(f"{folder} holds another run ({difference}). Choose another --output_dir, or add --overwrite.")


def _table(base: dict[str, float], results: dict[str, dict[str, float]]) -> str:
    rows = {"base": base, **{LABELS[method]: results[method] for method in ("grpo", "prefix_rft")}}
    style = f"{'works step by step':>20}" if "step_by_step" in base else ""
    lines = [
        f"{model:<12}{line['accuracy']:>10.2f}"
        + (f"{line['step_by_step']:>20.1%}" if style else "")
        + (f"{line['seconds']:>8.0f} s" if line["step"] else "")
        for model, line in rows.items()
    ]
    header = f"{'model':<12}{'accuracy':>10}{style}{'training':>10}"
    return "\n".join(["", "Held-out problems, no prefix given:", "", header, "-" * len(header), *lines])
