"""`prefix-rft compare`: trains recipes with several seeds and makes one report of them."""

import argparse
import os
import shlex
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from prefix_rft_trl.comparison.jobs import end_runs_on_sigterm, jobs_for, run_jobs
from prefix_rft_trl.comparison.report import terminal_table, write_report
from prefix_rft_trl.comparison.results_io import collect
from prefix_rft_trl.comparison.spec import SPECIFICATION, Specification, Trial, read_specification
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.files import only_one
from prefix_rft_trl.utils.recipe_files import find_recipe_file

from .launch.recipe import Stage, grouped, load_recipe, split_stages


DESCRIPTION = """\
Train recipes with several seeds and compare them: a table of accuracies without any prefix, with 95% intervals over
seeds, what they cost, curves, and the settings that differ. Runs that have ended are not run again, so a comparison
that was interrupted goes on when it is started again.

Every recipe needs `measure_steps`. A folder can hold a `comparison.yaml` with the order of its recipes and further
tables. Any further flag is a setting for all runs, such as --max_steps 20."""


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="prefix-rft compare",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipes", nargs="+", type=Path, help="recipes, or a folder of them")
    parser.add_argument("--seeds", type=int, default=3, help="runs of a recipe, with the seeds 0, 1, ... (3)")
    parser.add_argument("--output_dir", type=Path, help="folder of runs and report (runs/compare-NAME)")
    parser.add_argument("--jobs", type=int, help="runs side by side (on the CPU one a core, on GPUs one)")
    parser.add_argument("--threshold", type=float, help="accuracy of which the cost of reaching it is told")
    arguments, settings = parser.parse_known_args(argv)
    if arguments.seeds < 1 or (arguments.jobs is not None and arguments.jobs < 1):
        raise UserError("--seeds and --jobs are at least 1.")
    arguments.recipes = [find_recipe_file(path) for path in arguments.recipes]
    specification = _specification(arguments, settings)
    trials = [trial for table in specification.tables for _, row in table.rows for trial in row]
    measured = _check(trials)
    folder = arguments.output_dir or Path("runs") / f"compare-{arguments.recipes[0].stem}"
    jobs = jobs_for(trials, folder)
    on_cpu = all(trial.settings.get("use_cpu") for trial in trials)
    at_a_time = arguments.jobs or (len(os.sched_getaffinity(0)) if on_cpu else 1)
    command = f"prefix-rft compare {shlex.join(argv)}"
    try:
        with only_one(folder), end_runs_on_sigterm():
            failed = run_jobs(jobs, at_a_time)
            comparison = collect(specification, folder, command, measured)
            write_report(comparison, folder)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(terminal_table(comparison))
    print(f"\nThe report is in {folder}: report.html, report.md and results.json.")
    if failed:
        print(f"{len(failed)} of {len(jobs)} runs failed and are missing in it; their logs:")
        print("\n".join(f"  {job.folder / 'log.txt'}" for job in failed))
    return 1 if failed else 0


def _specification(arguments: argparse.Namespace, flags: list[str]) -> Specification:
    import yaml

    values = {name: [yaml.safe_load(value) for value in values] for name, values in grouped(flags)}
    extra: dict[str, Any] = {name: (found[0] if len(found) == 1 else found or True) for name, found in values.items()}
    paths, contents = [], {}
    for path in arguments.recipes:
        if not path.is_dir():
            paths.append(path)
            continue
        found = sorted(file for file in path.glob("*.yaml") if file.name != SPECIFICATION)
        if not found:
            raise UserError(f"there is no recipe in {path}.")
        paths += found
        if (path / SPECIFICATION).is_file():
            contents = load_recipe(path / SPECIFICATION)
    stems = [path.stem for path in paths]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise UserError(f"two recipes have the name {sorted(twice)[0]!r}, by which the report tells them apart.")
    if contents.get("recipes"):
        beside = [path.stem for path in arguments.recipes if not path.is_dir()]
        contents = {**contents, "recipes": [*contents["recipes"], *beside]}
    if arguments.threshold is not None:
        contents = {**contents, "threshold": arguments.threshold}
    loaded = {path: load_recipe(path) for path in paths}
    try:
        return read_specification(paths, contents, loaded, arguments.seeds, extra)
    except ValueError as error:
        raise UserError(str(error)) from error


def _check(trials: list[Trial]) -> str:
    """Refuses what could not be run before anything is; returns what accuracy is."""
    distinct = list({trial.name: trial for trial in trials}.values())
    # In a process of its own: settings look for a device, and this process is to hold none
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        measured = pool.submit(what_is_measured, distinct).result()
    if len(measured) > 1:
        raise UserError(f"the recipes are measured on different problems: {'; '.join(sorted(measured))}.")
    return (
        f"the mean reward on held-out problems ({measured.pop()}), without any prefix, one answer each, "
        "sampled at temperature 1."
    )


def what_is_measured(trials: list[Trial]) -> set[str]:
    """Makes the settings of each trial, which checks them; returns the problems that they are measured on."""
    from accelerate.commands.launch import launch_command_parser

    from .train import knows_setting

    launcher = launch_command_parser()
    measured = set()
    for trial in trials:
        try:
            for stage in split_stages(load_recipe(trial.path), trial.flags(), knows_setting):
                measured.add(_measured_by(_checked(stage, launcher)))
        except (ValueError, UserError) as error:
            raise UserError(f"{trial.path} with {trial.overrides or 'no overrides'}: {error}") from error
    return measured


def _checked(stage: Stage, launcher: argparse.ArgumentParser) -> argparse.Namespace:
    """The settings of a stage, all known and, as far as one process can tell, accepted by their config."""
    from .launch.training_script import make_parser
    from .train import has_default_config, launcher_flags

    parser = make_parser(stage.trainer)
    settings = {name: value for name, value in stage.settings.items() if name != "env"}
    of_launcher, _ = launcher_flags(parser, launcher, settings, stage.flags)
    if not of_launcher and not has_default_config():
        parser.parse_args_into_dataclasses([*stage.flags, "--output_dir", "runs"])
    return parser.parse_known_args(stage.flags)[0]


def _measured_by(settings: argparse.Namespace) -> str:
    if not settings.measure_steps:
        raise UserError("it measures nothing. Set `measure_steps`, as in recipes/lab.")
    if not settings.reward_funcs:
        raise UserError("accuracy needs a reward. Set `reward_funcs` to a registered name or a dotted path.")
    asked = {
        "dataset_config": settings.dataset_config,
        "prompt_column": settings.prompt_column,
        "instruction": settings.instruction,
        "conversational": settings.conversational,
        "chat_template_kwargs": settings.chat_template_kwargs,
    }
    rows = "all" if settings.measure_rows is None else f"the first {settings.measure_rows}"
    level = f", level `{settings.lab_level}`" if settings.dataset_name == "lab" else ""
    reward = settings.reward_funcs[0] if isinstance(settings.reward_funcs, list) else settings.reward_funcs
    prompts = "".join(f", {name} `{value}`" for name, value in asked.items() if value not in (None, False, "prompt"))
    return (
        f"{rows} of split `{settings.measure_split}` of `{settings.dataset_name}`{level}{prompts}, by "
        f"`{reward}`, in at most {settings.measure_max_new_tokens} tokens"
    )
