"""`prefix-rft train`: train a recipe, stage by stage, in this process or in those of accelerate's launcher.

On the CPU, without any setting of the launcher, training runs in this process, which starts twice as fast.
"""

import ast
import importlib.resources as resources
import sys
import textwrap
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from prefix_rft_trl.models.adapters import merge_adapter, remove_adapter
from prefix_rft_trl.run.folder import STATE, is_finished, last_checkpoint
from prefix_rft_trl.utils.documented import first_sentence, parameter_texts
from prefix_rft_trl.utils.errors import UserError

from .launch.launching import has_default_config, launch
from .launch.locking import run_lock
from .launch.recipe import Recipe


USAGE = """\
usage: prefix-rft train [--config RECIPE.yaml] [--SETTING VALUE ...] [LAUNCHER FLAGS]

Train a model with Prefix-RFT. A recipe is a YAML file of settings; a flag of the same name overrides it.

  prefix-rft train --config recipes/lab/prefix_rft.yaml --learning_rate 1e-4
  prefix-rft train --config recipes/gsm8k/prefix_rft.yaml --num_generations 4

A recipe can have `stages`, each of which starts from the model of the one before; a flag goes to the stages whose
trainer has that setting, or to one stage: --sft.learning_rate 1e-3.

model, data and rewards (with their defaults):
  --model_name_or_path (None)
      A folder, a name on the Hub, or `lab` for the lab's base model.
  --dataset_name (None)
      A name on the Hub, a JSONL, JSON, Parquet or CSV file, `lab`, or `reasoning_gym/<task>`.
  --resume_from_checkpoint (None)
      A checkpoint, or `last` for the last complete one in the output folder.
{script}

rewards by name:
  {rewards}

Prefix-RFT (the defaults are the paper's):
{prefix_rft}

All settings of TRL's GRPOConfig (or SFTConfig) and ModelConfig are accepted too, such as --max_steps,
--learning_rate, --num_generations, --max_completion_length, --use_vllm, --use_peft, --output_dir.

launcher:
  --accelerate_config NAME
      A configuration of accelerate: a file, or {accelerate}
      (--num_processes 8 --accelerate_config zero2 needs the extra `deepspeed`).
  any other flag of `accelerate launch`, such as --num_processes or --main_process_port"""


def run(argv: list[str]) -> int:
    if "-h" in argv or "--help" in argv:
        from rich.console import Console  # which ends quietly where `head` has seen enough

        Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(help_text())
        return 0
    recipe = Recipe.read(argv)  # before the imports, which take seconds
    with run_lock(recipe):
        from .launch.arguments import is_setting

        return _train_stages(recipe.trainings(is_setting)) if "stages" in recipe.settings else _train(recipe)


def _train(recipe: Recipe) -> int:
    """Trains a recipe of one stage."""
    from .launch.arguments import split_launcher_flags

    launcher_flags, recipe = split_launcher_flags(recipe)
    settings = recipe.parser().parse_known_args(recipe.flags)[0]
    has_launcher_config = "--config_file" in launcher_flags or has_default_config()
    if settings.use_cpu and not launcher_flags and not has_launcher_config:
        from .launch.training_script import train

        return train(recipe)
    if not settings.use_cpu and settings.bf16 is not False and not has_launcher_config:
        _check_there_is_a_gpu()
    return launch(launcher_flags, recipe.command_line)


def _check_there_is_a_gpu() -> None:
    import torch

    if not torch.accelerator.is_available():
        raise UserError(
            "this run is for GPUs (`bf16` is on and `use_cpu` is not), and PyTorch finds none. To run it on the CPU "
            "all the same, add `--use_cpu true --bf16 false`; recipes/lab/prefix_rft.yaml is a recipe for the CPU."
        )


def _train_stages(stages: list[Recipe]) -> int:
    """Trains one stage after the other; a resumed run skips those that are finished."""
    from .launch.arguments import split_launcher_flags

    for stage in stages:
        split_launcher_flags(stage)  # refuses unknown settings before any stage is trained
    for number, stage in enumerate(stages, 1):
        folder = Path(stage.settings["output_dir"])
        folder.mkdir(parents=True, exist_ok=True)
        if resumes := stage.flag_values("resume_from_checkpoint"):
            if resumes != ["last"]:
                raise UserError("a recipe of stages can only resume by `--resume_from_checkpoint last`.")
            if is_finished(folder):
                continue
            stage = stage.without_flags("resume_from_checkpoint")
            if checkpoint := last_checkpoint(folder, partial(print, file=sys.stderr)):
                stage = replace(stage, flags=[*stage.flags, "--resume_from_checkpoint", checkpoint])
        for later in stages[number - 1 :]:  # an earlier run may have finished it, this one has not
            (Path(later.settings["output_dir"]) / STATE).unlink(missing_ok=True)
        remove_adapter(folder)
        if number > 1:
            model = merge_adapter(stage.settings["model_name_or_path"])
            stage = replace(stage, settings={**stage.settings, "model_name_or_path": model})
        print(f"Stage {number} of {len(stages)}: {stage.stage}, into {folder}", flush=True)
        code = _train(stage.write(folder / "recipe.yaml"))
        if code or not is_finished(folder):  # failed, or stopped by a signal
            return code
    return 0


def help_text() -> str:
    """The help, made from the source of the settings: importing them would take seconds."""
    from prefix_rft_trl.rewards import REWARDS

    spec = find_spec("trl")  # `resources.files("trl.accelerate_configs")` would import trl
    assert spec is not None
    assert spec.origin is not None
    configurations = sorted(file.stem for file in Path(spec.origin).parent.glob("accelerate_configs/*.yaml"))
    return USAGE.format(
        script=_settings_of("cli/launch/arguments.py", "PrefixScriptArguments"),
        prefix_rft=_settings_of("config.py", "PrefixGRPOConfig"),
        rewards=textwrap.fill(", ".join(REWARDS), 117, subsequent_indent="  "),
        accelerate=", ".join(configurations),
    )


def _settings_of(file: str, name: str) -> str:
    """The settings that a dataclass documents, with their defaults, from its source."""
    source = ast.parse(resources.files("prefix_rft_trl").joinpath(file).read_text())
    dataclass = next(node for node in source.body if isinstance(node, ast.ClassDef) and node.name == name)
    texts = parameter_texts(ast.get_docstring(dataclass) or "")
    lines, indent = [], " " * 6
    for node in dataclass.body:
        match node:
            case ast.AnnAssign(
                target=ast.Name(id=setting),
                value=ast.Constant(value=default)
                | ast.Call(keywords=[ast.keyword(arg="default", value=ast.Constant(value=default)), *_]),
            ) if setting in texts:
                text = first_sentence(texts[setting])
                text = textwrap.fill(text[0].upper() + text[1:], 119, initial_indent=indent, subsequent_indent=indent)
                lines.append(f"  --{setting} ({default!s})\n{text}")
    return "\n".join(lines)
