"""`prefix-rft inspect`: show groups of rollouts on a page, demonstrations token by token."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.files import check_writable, write_atomically

from .flags import command_parser
from .launch.recipe import DEFAULT_TRAINER, Recipe


if TYPE_CHECKING:
    from prefix_rft_trl.inspection.records import Group, HybridRollout, Inspection

DESCRIPTION = """\
Show what a prefix teaches a model. The rollouts of a training step are made for a few rows of the dataset, and a page
shows their demonstrations token by token: the policy's entropy, the tokens selected for training, where the
demonstration is cut, how the policy continues, its reward and its advantage. Nothing is trained."""

EPILOG = """\
All other settings are those of `prefix-rft train`. For a trained model, pass its folder:

  prefix-rft inspect --config recipes/lab/prefix_rft.yaml
  prefix-rft inspect --config recipes/lab/prefix_rft.yaml --model_name_or_path runs/lab-prefix-rft --rows 3 4"""


def run(argv: list[str]) -> int:
    arguments, flags = _parser().parse_known_args(argv)
    recipe = Recipe.read(["--config", arguments.config, *flags] if arguments.config else flags)
    script_args, training_args, model_args = _parse(recipe)
    _check_rows(arguments.rows, script_args)
    output = Path(arguments.output)
    with as_user_error(ValueError):
        check_writable(output)
    _write_nothing_but_the_page(script_args, training_args, output.parent)
    print(f"Loading {model_args.model_name_or_path} ...", file=sys.stderr, flush=True)

    from prefix_rft_trl.inspection.groups import inspect_rows
    from prefix_rft_trl.inspection.html_page import page

    from .launch.training_script import make_trainer

    with as_user_error(ValueError):
        trainer, _ = make_trainer(script_args, training_args, model_args)
        inspection = inspect_rows(trainer, arguments.rows, arguments.at_step)
    origin = (
        ("model", str(model_args.model_name_or_path)),
        ("recipe", arguments.config or "none"),
        ("dataset", f"{script_args.dataset_name}, split {script_args.dataset_train_split}"),
    )
    write_atomically(output, page(inspection, origin))
    _report(inspection)
    print(f"\nThe page is {output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "inspect",
        usage="prefix-rft inspect --config RECIPE.yaml [--rows ROW ...] [--at_step N]\n"
        "                          [--output PAGE.html] [--SETTING VALUE ...]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("--config", metavar="RECIPE.yaml", help="the recipe")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1, 2], help="rows of the dataset (0 1 2)")
    parser.add_argument(
        "--at_step",
        type=int,
        metavar="N",
        help="optimizer step at which prefix lengths are drawn: almost all of a demonstration at 0, anything from "
        "almost none to almost all in the last steps (the middle of the decay)",
    )
    parser.add_argument("--output", default="runs/inspect.html", help="the page (runs/inspect.html)")
    return parser


def _parse(recipe: Recipe) -> tuple[Any, Any, Any]:
    """The arguments that `prefix-rft train` would train with, if that gives anyone a prefix."""
    if "stages" in recipe.settings:
        raise _no_prefix("`stages`")
    if recipe.trainer != DEFAULT_TRAINER:
        raise _no_prefix(f"`trainer: {recipe.trainer}`")
    from .launch.arguments import split_launcher_flags

    with as_user_error(ValueError):
        script_args, training_args, model_args = split_launcher_flags(recipe)[1].parse()
    if training_args.prefix_stage_ratios:
        raise UserError(
            "no prefix to show: which groups get one in a stage depends on what they sample. Remove "
            "`prefix_stage_ratios`, and set `--num_prefix_generations 1`, to see prefixes of their demonstrations."
        )
    if not training_args.num_prefix_generations:
        raise _no_prefix("`num_prefix_generations: 0`")
    if training_args.prefix_placement == "prompt":
        raise UserError(
            "no prefix to show: with `prefix_placement: prompt` demonstrations are hints in the prompt, of which no "
            "token is trained. `prefix-rft train --config RECIPE.yaml --dry_run` shows the first."
        )
    if training_args.demonstration_source == "own":
        raise _no_prefix("`demonstration_source: own`, whose successes are in a run's checkpoints")
    return script_args, training_args, model_args


def _no_prefix(found: str) -> UserError:
    return UserError(
        f"no prefix to show: the recipe has {found}. Take a recipe with prefixes, such as "
        "recipes/lab/prefix_rft.yaml, with `--model_name_or_path` for the model that this one has trained, or set "
        "`--num_prefix_generations 1`."
    )


def _check_rows(rows: list[int], script_args: Any) -> None:
    from prefix_rft_trl.data.held_out import pick_split
    from prefix_rft_trl.inspection.groups import check_rows

    from .launch.trainers import splits_of

    if script_args.dataset_streaming:
        return
    with as_user_error(ValueError):
        check_rows(rows, len(pick_split(splits_of(script_args), script_args.dataset_train_split)))


def _write_nothing_but_the_page(script_args: Any, training_args: Any, folder: Path) -> None:
    """Switches off the folders, the repository on the Hub, the trackers and the vLLM engine that a trainer makes."""
    training_args.output_dir, training_args.push_to_hub, training_args.log_completions = str(folder), False, False
    training_args.eval_strategy, training_args.use_vllm, script_args.measure_steps = "no", False, 0
    training_args.report_to = []


def _report(inspection: "Inspection") -> None:
    for group in inspection.groups:
        summaries = [_summary(rollout, group) for rollout in group.hybrids]
        for summary in summaries or ["no rollout has a prefix"]:
            print(f"row {group.row}: {summary}")


def _summary(rollout: "HybridRollout", group: "Group") -> str:
    advantage = rollout.prefix_advantage
    if advantage is None:
        learned = "imitated whatever the reward"
    else:
        learned = f"advantage {advantage:{'+.3g' if advantage else 'g'}}"
    selected = f"{rollout.num_selected} of {len(rollout.prefix)} prefix tokens selected"
    return f"reward {rollout.reward:g} (group mean {group.mean_reward:.3g}), {learned}, {selected}"
