"""`prefix-rft train`: reads a recipe, tells the trainer's settings from the launcher's, and launches the script.

The stages of a recipe are launched one after the other. On the CPU, without a launcher's setting, there is nothing to
launch: the script is run in this process, which starts twice as fast.
"""

import argparse
import ast
import importlib.resources as resources
import sys
import textwrap
from functools import cache, partial
from pathlib import Path
from typing import Any

from prefix_rft_trl.models.adapters import merge_adapter, remove_adapter
from prefix_rft_trl.run.folder import STATE, has_ended, last_checkpoint
from prefix_rft_trl.utils.errors import UserError, nearest

from .launch.launching import launch
from .launch.recipe import Stage, read_recipe, split_stages, with_config_apart, with_recipe_files


USAGE = """\
usage: prefix-rft train [--config RECIPE.yaml] [--SETTING VALUE ...] [LAUNCHER FLAGS]

Train a model with Prefix-RFT. A recipe is a YAML file of settings; a flag of the same name overrides it.

  prefix-rft train --config recipes/lab/prefix_rft.yaml --learning_rate 1e-4
  prefix-rft train --config recipes/gsm8k/prefix_rft.yaml --num_generations 4

model and data:
  --trainer NAME                prefix_grpo (the default), or sft for TRL's SFTTrainer
  --model_name_or_path PATH     a folder, a name on the Hub, or `lab` for the lab's base model
  --dataset_name PATH           a name on the Hub, a JSONL, JSON, Parquet or CSV file, `lab`, or
                                `reasoning_gym/<task>`, of which --reasoning_gym JSON sets size, seed and options
  --dataset_train_split NAME    split to train on (train)
  --prompt_column NAME          column of the prompts (prompt)
  --instruction TEXT            text put after each prompt, on a line of its own
  --conversational              make each prompt that is plain text the message of a user
  --reward_funcs NAME ...       rewards by name or by dotted path:
                                {rewards}
  --model_changes JSON          a longer context, a chat template or another end of turn, in a copy of the model whose
                                weights are links: '{{"folder": "models/mine", "config": {{"rope_theta": 40000}}}}'
  --reward_kwargs JSON          their arguments: '{{"math_accuracy_reward": {{"time_limit": 2}}}}'
  --measure_steps N             steps between two measurements of the accuracy on held-out problems, without any
                                prefix and by the first reward, written to curve.jsonl (0: none); --measure_split,
                                --measure_rows, --measure_max_new_tokens say on what
  --resume_from_checkpoint PATH a checkpoint, or `last` for the last whole one in the output folder
  --lab_level easy|hard         of the lab; its demonstrations: --lab_style worked|brief, --lab_damaged_share,
                                --lab_demonstrated_share

A recipe can have `stages`, each of which starts from the model of the one before; a flag goes to the stages that know
it, or to one: --sft.learning_rate 1e-3.

Prefix-RFT (the defaults are the paper's):
{settings}

All settings of TRL's GRPOConfig (or SFTConfig) and ModelConfig are taken as well, such as --max_steps,
--learning_rate, --num_generations, --max_completion_length, --use_vllm, --use_peft, --output_dir.

launcher:
  --accelerate_config NAME      a configuration of accelerate: a file, or one of
                                {accelerate}
                                (--num_processes 8 --accelerate_config zero2 takes the extra `deepspeed`)
  any other flag of `accelerate launch`, such as --num_processes or --main_process_port"""


def run(argv: list[str]) -> int:
    if "-h" in argv or "--help" in argv:
        print(help_text())
        return 0
    argv = with_config_apart(argv)
    recipe, flags = read_recipe(argv)  # before the imports, which take seconds
    if "stages" in recipe:
        return _run_stages(split_stages(recipe, flags, knows_setting))
    recipe.pop("env", None)  # the script sets it
    from accelerate.commands.launch import launch_command_parser
    from trl.cli.commands.training import _subtract_subsequence

    from .launch.training_script import main, make_parser

    launcher = launch_command_parser()
    parser = make_parser(Stage("", recipe, flags).trainer)
    of_launcher, from_line = launcher_flags(parser, launcher, recipe, flags)
    settings = _subtract_subsequence(argv, from_line)
    given = parser.parse_known_args(flags)[0]
    if not of_launcher and given.use_cpu and not has_default_config():
        return main(settings)
    if not (given.use_cpu or given.bf16 is False or "--config_file" in of_launcher or has_default_config()):
        _check_there_is_a_gpu()
    # As a module: as a file, its folder would come first on the path, and our `inspect` before Python's
    script = ["--module", f"{__package__}.launch.training_script"]
    return launch(launcher.parse_args([*of_launcher, "--quiet", *script, *settings]))


def _check_there_is_a_gpu() -> None:
    import torch

    if not torch.accelerator.is_available():
        raise UserError(
            "this run is for GPUs (`bf16` is on and `use_cpu` is not), and there is none that PyTorch sees. A recipe "
            "for a CPU is recipes/lab/prefix_rft.yaml; to run this one on the CPU all the same, add "
            "`--use_cpu true --bf16 false`."
        )


def knows_setting(trainer: str, setting: str) -> bool:
    """Whether a trainer, or what launches it, knows a setting."""
    return setting in _known_settings(trainer)


@cache
def _known_settings(trainer: str) -> set[str]:
    from accelerate.commands.launch import launch_command_parser

    from .launch.training_script import make_parser

    actions = [*make_parser(trainer)._actions, *launch_command_parser()._actions]
    flags = {flag.removeprefix("--").replace("-", "_") for action in actions for flag in action.option_strings}
    return {"accelerate_config", "env", *flags, *(action.dest for action in actions)}


def _run_stages(stages: list[Stage]) -> int:
    import yaml

    for stage in stages:
        _known_settings(stage.trainer)  # an unknown trainer is refused here, before any stage is trained
    for number, stage in enumerate(stages, 1):
        folder = Path(stage.settings["output_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        if from_where := stage.pop_flag("resume_from_checkpoint"):
            if from_where != ["last"]:
                raise UserError("a recipe of stages goes on where it can: `--resume_from_checkpoint last`.")
            if has_ended(folder):
                continue
            if checkpoint := last_checkpoint(folder, partial(print, file=sys.stderr)):
                stage.flags += ["--resume_from_checkpoint", checkpoint]
        for later in stages[number - 1 :]:  # what an earlier run has left there tells nothing of this one
            (Path(later.settings["output_dir"]) / STATE).unlink(missing_ok=True)
        remove_adapter(folder)
        if number > 1:
            stage.settings["model_name_or_path"] = merge_adapter(stage.settings["model_name_or_path"])
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(stage.settings, sort_keys=False))
        print(f"Stage {number} of {len(stages)}: {stage.name}, into {folder}", flush=True)
        code = run(["--config", str(recipe), *stage.flags])
        if code or not has_ended(folder):  # it was asked to stop
            return code
    return 0


def has_default_config() -> bool:
    from accelerate.commands.config import default_config_file

    return Path(default_config_file).is_file()


def help_text() -> str:
    """The help, from the source of the settings: importing them would take seconds."""
    from prefix_rft_trl.rewards import REWARDS

    names = sorted(file.stem for file in _accelerate_configs().glob("*.yaml"))
    settings = "\n".join(f"  --{name} ({default})\n      {text}" for name, default, text in _prefix_settings())
    rewards = textwrap.fill(", ".join(REWARDS), 119, initial_indent=" " * 32, subsequent_indent=" " * 32).lstrip()
    return USAGE.format(rewards=rewards, accelerate=", ".join(names), settings=settings)


def _prefix_settings() -> list[tuple[str, object, str]]:
    source = resources.files("prefix_rft_trl").joinpath("config.py").read_text()
    config = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    fields = []
    for node in config.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call) and isinstance(node.target, ast.Name):
            keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.value.keywords}
            fields.append((node.target.id, keywords["default"], keywords["metadata"]["help"]))
    return fields


def _accelerate_configs() -> Path:
    # `resources.files("trl.accelerate_configs")` would import trl
    from importlib.util import find_spec

    specification = find_spec("trl")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "accelerate_configs"


def launcher_flags(
    parser: Any, launcher: argparse.ArgumentParser, recipe: dict[str, Any], flags: list[str]
) -> tuple[list[str], list[str]]:
    """The launcher's flags from recipe and line, and those from the line alone; what nobody knows is an error.

    The recipe's settings become the defaults of `parser`. They are checked on the processes that are launched, which
    know how many they are.
    """
    from trl.cli.accelerate_config import resolve_accelerate_config_argument

    known = {action.dest for action in parser._actions}
    launch_known = {action.dest for action in launcher._actions} | {"accelerate_config"}
    from_recipe = parser.set_defaults_with_config(**recipe)
    from_line = parser.parse_known_args(flags)[1]
    for origin, left in (("recipe", from_recipe), ("command line", from_line)):
        for flag in left:
            name = flag.removeprefix("--").partition("=")[0].replace("-", "_")
            if flag.startswith("--") and name not in launch_known:
                raise UserError(f"unknown setting '{name}' in the {origin}.{nearest(name, known | launch_known)}")
    try:
        of_launcher = with_recipe_files([*from_recipe, *from_line], "--accelerate_config")
        return resolve_accelerate_config_argument(of_launcher), from_line
    except ValueError as error:
        raise UserError(str(error)) from error
