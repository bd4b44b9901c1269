"""`prefix-rft train`: train a recipe, stage by stage, in this process or in those of accelerate's launcher.

On the CPU, without any setting of the launcher, training runs in this process, which starts twice as fast.
"""

import ast
import importlib.resources as resources
import os
import sys
import textwrap
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from prefix_rft_trl.data.data_files import check_source
from prefix_rft_trl.models.adapters import merge_adapter, remove_adapter
from prefix_rft_trl.run.fingerprint import RunFingerprint
from prefix_rft_trl.run.folder import STATE, is_finished, last_checkpoint
from prefix_rft_trl.run.used_folder import STAGE_RECIPE, PlannedRun, check_folders, start_in_environment
from prefix_rft_trl.utils.documented import first_sentence, parameter_texts
from prefix_rft_trl.utils.errors import UserError, as_user_error
from prefix_rft_trl.utils.lazy import quick_imports
from prefix_rft_trl.utils.tables import fill_paragraphs

from .launch.launching import check_gpu, has_default_config, launch
from .launch.locking import DEFAULT_FOLDER, run_lock
from .launch.recipe import Recipe, grouped
from .launch.recipe_secrets import secrets_in_environment


WIDTH = 80

INPUTS = (
    "model_name_or_path", "dataset_name", "dataset_test_file", "demonstration_dataset_name", "resume_from_checkpoint",
    "chat_template_path", "deepspeed", "fsdp_config",
)  # fmt: skip
USAGE = """\
usage: prefix-rft train [--config RECIPE.yaml] [--SETTING VALUE ...]
                        [--dry_run] [LAUNCHER FLAGS]

Train a model with Prefix-RFT. A recipe is a YAML file of settings; a flag of the same name overrides it.

  prefix-rft train --config recipes/lab/prefix_rft.yaml --learning_rate 1e-4
  prefix-rft train --config recipes/gsm8k/prefix_rft.yaml --num_generations 4

A recipe can have `stages`, each of which starts from the model of the one before; a flag goes to the stages whose
trainer has that setting, or to one stage: --sft.learning_rate 1e-3.

  --dry_run
      Check everything and say what would be done: settings, rows, steps, the
      first rows as the model will see them, memory, time and files. Nothing is
      trained or written.

model, data and rewards (with their defaults):
  --model_name_or_path (None)
      A folder, a name on the Hub, or `lab` for the lab's base model.
  --dataset_name (None)
      A name on the Hub, a JSONL, JSON, Parquet, CSV or TSV file, a folder, `lab`, or `reasoning_gym/<task>`.
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
    recipe, is_dry = _take_switch(recipe, "dry_run")
    _check_dataset_file(recipe)
    if is_dry:
        return _check_and_train(recipe, is_dry)
    with run_lock(recipe):
        return _check_and_train(recipe)


def _take_switch(recipe: Recipe, name: str) -> tuple[Recipe, bool]:
    """The recipe without a switch of the command line that is no setting, and whether it is on."""
    words = recipe.flag_values(name) or ["true"] * (name in dict(grouped(recipe.flags)))
    if words and words[-1].lower() not in ("true", "false"):
        raise UserError(f"`--{name}` is `true` or `false`, found {words[-1]!r}.")
    return recipe.without_flags(name), bool(words) and words[-1].lower() == "true"


def _check_dataset_file(recipe: Recipe) -> None:
    """Raises a `UserError` for a file of a dataset that is not there, before the imports; stages may name others."""
    given = recipe.flag_values("dataset_name")
    name = given[-1] if given else recipe.settings.get("dataset_name")
    if isinstance(name, str) and name and "stages" not in recipe.settings:
        check_source(name, is_streaming=True)


def _check_and_train(recipe: Recipe, is_dry: bool = False) -> int:
    with quick_imports(freeze=True):
        from .launch.arguments import check_stage, is_setting

    trainings = recipe.trainings(is_setting)
    for training in trainings:
        check_stage(training)  # before any is trained
    with as_user_error(ValueError, OSError):
        planned = plan_runs(trainings, recipe)
        removed = check_folders(planned, partial(print, file=sys.stderr))
    if "stages" in recipe.settings:
        _check_stages(planned)
    if is_dry:
        from .launch.dry_run import dry_run

        return dry_run([replace(training, path=recipe.path) for training in trainings], planned, removed)
    if "stages" not in recipe.settings:
        with start_in_environment(planned[0], removed):
            return _train(recipe)
    return _train_stages(trainings, planned, removed)


def plan_runs(trainings: list[Recipe], recipe: Recipe) -> list[PlannedRun]:
    """The runs of a recipe's trainings, with what identifies them. Local models and datasets are read for that."""
    from .launch.run_record import run_record

    planned: list[PlannedRun] = []
    for number, training in enumerate(trainings):
        given = vars(training.parser.parse_known_args(training.flags)[0])
        before = trainings[number - 1].stage if number else ""
        read = {name: given.get(name) for name in INPUTS if not (before and name == "model_name_or_path")}
        read["config"] = recipe.path and str(recipe.path)
        read |= {f"base {file}": str(file) for file in training.origins.values()}
        fingerprint = RunFingerprint.from_settings(given, training.stage, before)
        first = planned[0].fingerprint if planned else fingerprint
        planned.append(
            PlannedRun(
                Path(given["output_dir"] or DEFAULT_FOLDER).expanduser(),
                fingerprint,
                given["resume_from_checkpoint"],
                given["overwrite"],
                {name: os.path.expanduser(value) for name, value in read.items() if isinstance(value, str)},
                run_record(recipe, trainings[: number + 1], fingerprint, first),
            )
        )
    return planned


def _train(recipe: Recipe) -> int:
    """Trains a recipe of one stage."""
    from .launch.arguments import split_launcher_flags

    launcher_flags, recipe = split_launcher_flags(recipe)
    settings = recipe.parser.parse_known_args(recipe.flags)[0]
    has_launcher_config = "--config_file" in launcher_flags or has_default_config()
    if settings.use_cpu and not launcher_flags and not has_launcher_config:
        from .launch.training_script import train

        return train(recipe)
    if not has_launcher_config:
        check_gpu(settings)
    return launch(launcher_flags, recipe.command_line)


def _check_stages(planned: list[PlannedRun]) -> None:
    if any(run.resumed_folder is not None and run.resumes != "last" for run in planned):
        raise UserError("a recipe of stages can only resume by `--resume_from_checkpoint last`.")
    if kept := [run.folder for run in planned if run.reads(run.folder / STAGE_RECIPE)]:
        raise UserError(
            f"the recipe would be replaced: a stage writes {kept[0] / STAGE_RECIPE} too. Rename the recipe, or "
            "take another `--output_dir`."
        )


def _train_stages(stages: list[Recipe], planned: list[PlannedRun], removed: list[Path]) -> int:
    """Trains one stage after the other; a resumed run skips those that are finished.

    Earlier runs in the folders of all stages are removed as the first one starts.
    """
    for number, (stage, run) in enumerate(zip(stages, planned, strict=True), 1):
        folder = run.folder
        folder.mkdir(parents=True, exist_ok=True)
        if run.resumes == "last":
            if is_finished(folder):
                print(f"Stage {number} of {len(stages)}: {stage.stage} is finished, in {folder}", flush=True)
                continue
            stage = _without_resume(stage)
            if last_checkpoint(folder):
                stage = replace(stage, flags=[*stage.flags, "--resume_from_checkpoint", "last"])
            for later in planned[number - 1 :]:  # an earlier run may have finished it, this one has not
                (later.folder / STATE).unlink(missing_ok=True)
            remove_adapter(folder)
        if number > 1:
            model = merge_adapter(str(planned[number - 2].folder))
            stage = replace(stage, settings={**stage.settings, "model_name_or_path": model})
        print(f"Stage {number} of {len(stages)}: {stage.stage}, into {folder}", flush=True)
        with start_in_environment(run, removed), secrets_in_environment(stage.settings):
            code = _train(stage.write(folder / STAGE_RECIPE))
        if code or not is_finished(folder):  # failed, or stopped by a signal
            return code
        removed = []
    return 0


def _without_resume(stage: Recipe) -> Recipe:
    settings = {name: value for name, value in stage.settings.items() if name != "resume_from_checkpoint"}
    return replace(stage.without_flags("resume_from_checkpoint"), settings=settings)


def help_text() -> str:
    """The help, made from the source of the settings: importing them would take seconds."""
    from prefix_rft_trl.rewards import REWARDS

    spec = find_spec("trl")  # `resources.files("trl.accelerate_configs")` would import trl
    assert spec is not None
    assert spec.origin is not None
    configurations = sorted(file.stem for file in Path(spec.origin).parent.glob("accelerate_configs/*.yaml"))
    text = USAGE.format(
        script=_settings_of("cli/launch/arguments.py", "PrefixScriptArguments"),
        prefix_rft=_settings_of("config.py", "PrefixGRPOConfig"),
        rewards=", ".join(REWARDS),
        accelerate=", ".join(configurations),
    )
    return fill_paragraphs(text, WIDTH)


def _settings_of(file: str, name: str) -> str:
    """The settings that a dataclass documents, with their defaults, from its source."""
    source = ast.parse(resources.files("prefix_rft_trl").joinpath(file).read_text(encoding="utf-8"))
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
                text = textwrap.fill(
                    text[0].upper() + text[1:], WIDTH, initial_indent=indent, subsequent_indent=indent
                )
                shown = str(default).replace("\n", "\\n")
                lines.append(f"  --{setting} ({shown})\n{text}")
    return "\n".join(lines)
