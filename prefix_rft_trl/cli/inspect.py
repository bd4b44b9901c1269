"""`prefix-rft inspect`: what a prefix teaches, as a picture. Groups of a training step on a page, token by token."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError

from .launch.recipe import DEFAULT_TRAINER, Stage, read_recipe, with_config_apart
from .train import launcher_flags


if TYPE_CHECKING:
    from prefix_rft_trl.inspection.records import Group, HybridRollout, Inspection

DESCRIPTION = """\
Show what a prefix teaches a model. For a few rows of the dataset the rollouts of a training step are made, and a page
shows the demonstrations token by token: the policy's entropy, the tokens that are kept, where the demonstration is
cut, what the policy wrote from there, its reward and its advantage. Nothing is trained."""

EPILOG = """\
All other settings are those of `prefix-rft train`. A trained model is shown with its folder:

  prefix-rft inspect --config recipes/lab/prefix_rft.yaml
  prefix-rft inspect --config recipes/lab/prefix_rft.yaml --model_name_or_path runs/lab-prefix-rft --rows 3 4"""


def run(argv: list[str]) -> int:
    arguments, settings = _parser().parse_known_args(argv)
    script_args, training_args, model_args = _recipe_settings(arguments.config, settings)
    _check_prefixes_are_in_use(training_args)
    _check_rows(arguments.rows, script_args)
    output = Path(arguments.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    _leave_no_trace(script_args, training_args, output.parent)
    _say(f"Loading {model_args.model_name_or_path} ...")

    from prefix_rft_trl.inspection.groups import inspect_rows
    from prefix_rft_trl.inspection.html_page import page

    from .launch.training_script import make_trainer

    try:
        trainer, _ = make_trainer(script_args, training_args, model_args)
        inspection = inspect_rows(trainer, arguments.rows, arguments.at_step)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    origin = (
        ("model", str(model_args.model_name_or_path)),
        ("recipe", arguments.config or "none"),
        ("dataset", f"{script_args.dataset_name}, split {script_args.dataset_train_split}"),
    )
    output.write_text(page(inspection, origin), encoding="utf-8")
    _report(inspection)
    print(f"\nThe page is {output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefix-rft inspect",
        usage="prefix-rft inspect --config RECIPE.yaml [--rows ROW ...] [--at_step N] [--output PAGE.html] "
        "[--SETTING VALUE ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="RECIPE.yaml", help="the recipe")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1, 2], help="rows of the dataset (0 1 2)")
    parser.add_argument(
        "--at_step",
        type=int,
        metavar="N",
        help="optimizer step at which the length of the prefix is drawn: at 0 almost all of a demonstration is given, "
        "in the last steps anything from almost none to almost all (the middle of the decay, which shows both parts)",
    )
    parser.add_argument("--output", default="runs/inspect.html", help="the page (runs/inspect.html)")
    return parser


def _recipe_settings(config: str | None, flags: list[str]) -> tuple[Any, Any, Any]:
    """The settings that `prefix-rft train` would train with; what it refuses is refused here."""
    argv = with_config_apart(["--config", config, *flags]) if config else flags
    recipe, _ = read_recipe(argv)  # before the imports, which take seconds
    recipe.pop("env", None)
    _check_trainer(Stage("", recipe, flags))
    from accelerate.commands.launch import launch_command_parser

    from .launch.training_script import make_parser

    launcher_flags(make_parser(), launch_command_parser(), recipe, flags)
    try:
        return make_parser().parse_args_and_config(argv, return_remaining_strings=True)[:3]
    except ValueError as error:
        raise UserError(str(error)) from error


def _check_trainer(training: Stage) -> None:
    if "stages" in training.settings:
        found = "`stages`"
    elif training.trainer != DEFAULT_TRAINER:
        found = f"`trainer: {training.trainer}`"
    else:
        return
    raise UserError(
        f"there is no prefix to show: the recipe has {found}. Take a recipe with prefixes, such as "
        "recipes/lab/prefix_rft.yaml, and name the model that this one made with `--model_name_or_path`."
    )


def _check_prefixes_are_in_use(training_args: Any) -> None:
    if not training_args.num_prefix_generations:
        raise UserError(
            "there is no prefix to show: the recipe has `num_prefix_generations: 0`. Take a recipe with prefixes, or "
            "add `--num_prefix_generations 1`."
        )


def _check_rows(rows: list[int], script_args: Any) -> None:
    from prefix_rft_trl.data.loading import pick_split
    from prefix_rft_trl.inspection.groups import check_rows

    from .launch.trainers import splits_of

    if script_args.dataset_streaming:
        return
    try:
        check_rows(rows, len(pick_split(splits_of(script_args), script_args.dataset_train_split)))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


def _leave_no_trace(script_args: Any, training_args: Any, folder: Path) -> None:
    """A trainer makes folders and a repository on the Hub as it starts. A page needs neither, nor a server."""
    training_args.output_dir, training_args.push_to_hub, training_args.log_completions = str(folder), False, False
    training_args.eval_strategy, training_args.use_vllm, script_args.measure_steps = "no", False, 0


def _report(inspection: "Inspection") -> None:
    for group in inspection.groups:
        summaries = [_summary(rollout, group) for rollout in group.hybrids]
        for summary in summaries or ["no rollout was given a prefix"]:
            print(f"row {group.row}: {summary}")


def _summary(rollout: "HybridRollout", group: "Group") -> str:
    advantage = rollout.prefix_advantage
    learned = (
        "imitated whatever the reward"
        if advantage is None
        else f"advantage {advantage:{'+.3g' if advantage else 'g'}}"
    )
    kept = f"{rollout.num_selected} of {len(rollout.prefix)} prefix tokens kept"
    return f"reward {rollout.reward:g} (group mean {group.mean_reward:.3g}), {learned}, {kept}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
