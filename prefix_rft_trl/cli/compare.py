"""`prefix-rft compare`: train recipes with several seeds and report the results."""

import argparse
import io
import json
import logging
import os
import re
import shlex
import time
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.comparison.jobs import Job, job_names, jobs_for, run_jobs
from prefix_rft_trl.comparison.regime_map import Levels
from prefix_rft_trl.comparison.report import print_summary, write_report
from prefix_rft_trl.comparison.results import Comparison
from prefix_rft_trl.comparison.results_io import collect
from prefix_rft_trl.comparison.spec import SPECIFICATION, read_specification
from prefix_rft_trl.comparison.trials import Trial
from prefix_rft_trl.data.held_out import describe_held_out
from prefix_rft_trl.run.folder import is_finished
from prefix_rft_trl.utils.errors import UserError, WorkError, as_user_error
from prefix_rft_trl.utils.faults import known_fault
from prefix_rft_trl.utils.files import check_writable_folder, exclusive_lock
from prefix_rft_trl.utils.hashing import stable_hash
from prefix_rft_trl.utils.lazy import quick_imports
from prefix_rft_trl.utils.processes import call_in_process
from prefix_rft_trl.utils.recipe_files import find_recipe_file
from prefix_rft_trl.utils.redaction import redacted_words
from prefix_rft_trl.utils.shared_memory import check_semaphores

from .flags import command_parser
from .launch.inheritance import trainers_of
from .launch.recipe import SHARED_BASE, Recipe, load_recipe, parse_flags
from .launch.recipe_yaml import read_yaml


if TYPE_CHECKING:
    from tqdm.auto import tqdm

    from .launch.inputs import MeasuredProblems

DESCRIPTION = """\
Train recipes with several seeds and compare them: a table of accuracies without any prefix, with 95% intervals over
seeds and problems, paired differences, costs, curves, and the settings that differ. Finished runs are not repeated: a
comparison that was interrupted continues when it is started again.

Every recipe needs `measure_steps`. A folder can hold a `comparison.yaml` with
the order of its recipes and further tables, and a `base.yaml` with the settings
that they share. Any further flag is a setting for all runs, such as --max_steps 20.

A `map:` in the `comparison.yaml` makes a map of regimes: cells of conditions, and heat maps of the method that is best
in each. --cell trains and reports one cell of it, with curves."""

CELLS = "cells"  # folder of the reports of single cells
PROMPT_SETTINGS = ("dataset_config", "prompt_column", "instruction", "conversational", "chat_template_kwargs")
Recipes = dict[Path, dict[str, Any]]


def run(argv: list[str]) -> int:
    parser = command_parser("compare", DESCRIPTION)
    parser.add_argument("recipes", nargs="+", type=Path, help="recipes, or a folder of them")
    parser.add_argument("--seeds", type=int, default=3, help="runs of a recipe, with the seeds 0, 1, ... (3)")
    parser.add_argument("--output_dir", type=Path, help="folder of runs and report (runs/compare-NAME)")
    parser.add_argument("--jobs", type=int, help="concurrent runs (on the CPU one per core, on GPUs one)")
    parser.add_argument("--threshold", type=float, help="accuracy for which the cost of reaching it is reported")
    parser.add_argument("--cell", help="one cell of the map, as AXIS=LEVEL,AXIS=LEVEL; others stay as in the recipes")
    arguments, settings = parser.parse_known_args(argv)
    if arguments.seeds < 1 or (arguments.jobs is not None and arguments.jobs < 1):
        raise UserError("--seeds and --jobs must be at least 1.")
    given = [find_recipe_file(path) for path in arguments.recipes]
    recipes, contents = _load(given)
    if arguments.threshold is not None:
        contents["threshold"] = arguments.threshold
    folder = arguments.output_dir or Path("runs") / f"compare-{given[0].stem}"
    command = f"prefix-rft compare {shlex.join(redacted_words(argv))}"
    with as_user_error(ValueError):
        check_writable_folder(folder)
        overrides = parse_flags(settings)
        takes = _takers(recipes, overrides)
        specification = read_specification(recipes, contents, arguments.seeds, overrides, takes, arguments.cell)
        jobs = jobs_for(specification.trials, folder)
        measured = _check(jobs, recipes, specification.groups)
        on_cpu = all(trial.settings.get("use_cpu") for trial in specification.trials)
        at_a_time = arguments.jobs or (len(os.sched_getaffinity(0)) if on_cpu else 1)
        reported = folder if specification.cell is None else folder / cell_folder(specification.cell)

        def report() -> Comparison:
            comparison = collect(specification, folder, command, measured)
            write_report(comparison, reported)
            return comparison

        def report_unfinished() -> None:
            finished = sum(is_finished(job.folder) for job in jobs)
            if finished:
                report()
                with suppress(OSError):  # of an output that is closed
                    print(f"{finished} of {_runs(len(jobs))} are finished. {_where(reported)}", flush=True)

        with exclusive_lock(folder):
            failed = run_jobs(jobs, at_a_time, on_stop=report_unfinished)
            if not any(is_finished(job.folder) for job in jobs):
                raise WorkError(f"no run has finished, so no report is written. {_logs_of(failed)}")
            comparison = report()
    print_summary(comparison)
    print(_where(reported))
    if failed:
        print(f"{len(failed)} of {len(jobs)} runs failed and are missing from it. {_logs_of(failed)}")
    return 1 if failed else 0


def _where(reported: Path) -> str:
    return f"The report is in {reported}: report.html, report.md and results.json."


def _logs_of(failed: list[Job]) -> str:
    """The logs of failed runs, with their last lines."""
    names = job_names(failed)
    found = [f"  {names[job]}: {job.log_tail(1)[0]}\n    {job.log}" for job in failed]
    return "\n".join(["What went wrong, and the logs:", *found])


def _load(paths: list[Path]) -> tuple[Recipes, dict[str, Any]]:
    """The settings of the recipes, read once, and the contents of a `comparison.yaml` among them."""
    files: list[Path] = []
    contents: dict[str, Any] = {}
    for path in paths:
        inside = sorted(file for file in path.glob("*.yaml") if file.name not in (SPECIFICATION, SHARED_BASE))
        found = inside if path.is_dir() else [path]
        if not found:
            raise UserError(f"there is no recipe in {path}.")
        files += found
        if (path / SPECIFICATION).is_file():
            contents = read_yaml(path / SPECIFICATION)
    stems = [file.stem for file in files]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise UserError(f"two recipes have the name {min(twice)!r}, and the report could not tell them apart.")
    if contents.get("recipes"):
        contents["recipes"] = [*contents["recipes"], *(path.stem for path in paths if not path.is_dir())]
    return {file: load_recipe(file) for file in files}, contents


def _takers(recipes: Recipes, overrides: dict[str, Any]) -> Callable[[Path, str], bool]:
    """Whether a recipe takes a flag for all runs: `--num_generations` is a setting of GRPO, and none of SFT."""
    trainers = {path: trainers_of(recipe) for path, recipe in recipes.items()}
    if not overrides or "trainer" in overrides or len({trainer for by in trainers.values() for trainer in by}) < 2:
        return lambda path, name: True
    from .launch.arguments import is_setting

    return lambda path, name: "." in name or any(is_setting(trainer, name) for trainer in trainers[path])


def cell_folder(levels: Levels) -> Path:
    """Where the report of a cell lies, in the folder of its runs; names that a folder cannot have get a hash."""
    words = [word for level in levels.items() for word in level] or ["first-levels"]
    name = "-".join(re.sub(r"[^\w.]+", "-", word).strip("-") for word in words)
    is_exact = all(re.fullmatch(r"[\w.]+", word) for word in words)
    return Path(CELLS) / (name if is_exact else f"{name}-{stable_hash(json.dumps(words), size=4):08x}")


def _check(jobs: list[Job], recipes: Recipes, groups: list[list[Trial]]) -> str:
    """Refuse what cannot be run before anything is; return what accuracy is, in a sentence."""
    started = time.monotonic()
    with as_user_error(ValueError):
        check_semaphores()
    waiting = [job for job in jobs if not is_finished(job.folder)]
    if before := len(jobs) - len(waiting):
        were = "was finished before, and is" if before == 1 else "were finished before, and are"
        print(f"{before} of {_runs(len(jobs))} {were} not repeated.")
    if waiting:
        print(f"Checking settings, data, rewards and models of {_runs(len(waiting))} ...", flush=True)
    # In a process of its own: settings look for a device, and this process must not hold one
    described, number = call_in_process(_checked_quietly, groups, recipes, {job.trial.name for job in waiting})
    if waiting:
        print(
            f"... all can be run, and are measured on {number:,} held-out problems.\n"
            f"The checks took {time.monotonic() - started:.0f} s.",
            end="\n\n",
            flush=True,
        )
    return (
        f"the mean reward on held-out problems ({described}), without any prefix, one answer each, "
        "sampled at temperature 1."
    )


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _checked_quietly(
    groups: list[list[Trial]], recipes: Recipes, unfinished: Container[str]
) -> tuple[str, int | None]:
    """Each run shows its warnings itself, and bars are for long work."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")

    from datasets import disable_progress_bars

    disable_progress_bars()
    return find_measured_problems(groups, recipes, unfinished)


def find_measured_problems(
    groups: list[list[Trial]], recipes: Recipes, unfinished: Container[str]
) -> tuple[str, int | None]:
    """Check the settings of each trial.

    Args:
        groups (`list[list[Trial]]`): trials that are compared with each other; one can be in several groups.
        recipes (`dict[Path, dict]`): settings of the recipes by path.
        unfinished (`Container[str]`): trials that are to be run, whose data and models are checked too.

    Returns:
        `tuple[str, int | None]`: a description of the problems that accuracy is measured on, and their number if any
        trial is to be run.

    Raises:
        UserError: if trials of a group are measured on different problems, or a trial cannot be run.
    """
    with quick_imports(freeze=True):
        from .launch.arguments import check_stage, is_setting
        from .launch.inputs import MeasuredProblems, check_inputs

    trials = {trial.name: trial for group in groups for trial in group}
    described: dict[str, list[str]] = {}
    trainings: dict[str, list[Recipe]] = {}
    for name, trial in trials.items():
        with _naming(trial):
            trainings[name] = Recipe(recipes[trial.path], trial.flags()).trainings(is_setting)
            stages = [check_stage(stage, on_any_device=True) for stage in trainings[name]]
            described[name] = [_describe_measurement(stage) for stage in stages]
    measured: dict[str, list[MeasuredProblems]] = {}
    waiting = {name: trial for name, trial in trials.items() if name in unfinished}
    with _said_once():
        for name, trial in _shown(waiting):  # which takes longer
            with _naming(trial):
                measured[name] = check_inputs(trainings[name])
    for group in groups:
        descriptions = {one for trial in group for one in described[trial.name]}
        if len(descriptions) > 1:
            raise UserError(f"the recipes are measured on different problems: {'; '.join(sorted(descriptions))}.")
        _check_same_problems({problems: trial for trial in group for problems in measured.get(trial.name, [])})
    distinct = dict.fromkeys(one for found in described.values() for one in found)
    number = next((problems.number for found in measured.values() for problems in found), None)
    return "; in other cells: ".join(distinct), number


def _shown(trials: dict[str, Trial]) -> "tqdm[tuple[str, Trial]]":
    """The trials by name, with a bar in a terminal if they take long."""
    from tqdm.auto import tqdm

    return tqdm(trials.items(), desc="checking", unit="trial", leave=False, disable=None)


def _check_same_problems(measured: "dict[MeasuredProblems, Trial]") -> None:
    if len(measured) < 2:
        return
    (problems, one), (others, other) = list(measured.items())[:2]
    found = "as many others" if others.number == problems.number else f"{others.number:,}"
    raise UserError(
        f"accuracy would be measured on different problems: {_name(one)} has {problems.number:,} held-out "
        f"problems, and {_name(other)} has {found}. Those that are trained on too are left out, so give all "
        "recipes the same data settings, as in a base.yaml."
    )


@contextmanager
def _said_once() -> Iterator[None]:
    """Prints each line that is printed in the block once: recipes that read the same rows say the same of them."""
    try:
        with redirect_stdout(io.StringIO()) as said:
            yield
    finally:
        for line in dict.fromkeys(said.getvalue().splitlines()):
            print(line, flush=True)


@contextmanager
def _naming(trial: Trial) -> Iterator[None]:
    """Raises what is wrong with a trial as a `UserError` that names it."""
    try:
        yield
    except Exception as error:
        sentence = known_fault(error)
        if sentence is None and not isinstance(error, UserError | ValueError):
            raise
        raise UserError(f"{_name(trial)}: {sentence or error}") from error


def _name(trial: Trial) -> str:
    return f"{trial.path} with {trial.overrides or 'no overrides'}"


def _describe_measurement(settings: argparse.Namespace) -> str:
    if not settings.measure_steps:
        raise UserError("it measures nothing. Set `measure_steps`, as in recipes/lab, and hold problems out.")
    if not settings.reward_funcs:
        raise UserError("accuracy needs a reward. Set `reward_funcs` to a registered name or a dotted path.")
    given = {name: getattr(settings, name) for name in PROMPT_SETTINGS}
    rows = "all" if settings.measure_rows is None else f"the first {settings.measure_rows}"
    level = f", level `{settings.lab_level}`" if settings.dataset_name == "lab" else ""
    reward = settings.reward_funcs[0] if isinstance(settings.reward_funcs, list) else settings.reward_funcs
    prompts = "".join(f", {name} `{value}`" for name, value in given.items() if value not in (None, False, "prompt"))
    return (
        f"{rows} of {describe_held_out(vars(settings))}{level}{prompts}, by "
        f"`{reward}`, in at most {settings.measure_max_new_tokens} tokens"
    )
