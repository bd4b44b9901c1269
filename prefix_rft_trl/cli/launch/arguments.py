"""Settings of a recipe: those of the training script, the trainer and the model, and the flags of the launcher."""

from dataclasses import dataclass, field, replace
from functools import cache

from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig, ScriptArguments, TrlParser
from trl.cli.accelerate_config import resolve_accelerate_config_argument
from trl.cli.commands.training import _subtract_subsequence

from prefix_rft_trl.cli.flags import read_dict
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils.documented import documented
from prefix_rft_trl.utils.errors import UserError, as_user_error, nearest
from prefix_rft_trl.utils.recipe_files import find_recipe_file

from .recipe import DEFAULT_TRAINER, Recipe


CONFIGS = {"prefix_grpo": PrefixGRPOConfig, "sft": DemonstrationSFTConfig}


@documented
@dataclass
class PrefixScriptArguments(ScriptArguments):
    """
    Arguments of the training script, in addition to those of the trainer and the model.

    Args:
        trainer (`str`, *optional*, defaults to `"prefix_grpo"`): `prefix_grpo`, or `sft` for TRL's `SFTTrainer`.
        reward_funcs (`list[str]`, *optional*): rewards, by registered name or dotted path.
        reward_kwargs (`dict`, *optional*): arguments of the rewards as JSON, such as
            `{"math_accuracy_reward": {"time_limit": 2}}`.
        model_changes (`dict`, *optional*): longer context, chat template or end of turn for the model, as JSON such as
            `{"folder": "models/mine", "config": {"rope_theta": 40000}}`. The changed model is a folder with links to
            the weights (`prefix_rft_trl/models/changes.py`).
        prompt_column (`str`, *optional*, defaults to `"prompt"`): column with the prompts.
        instruction (`str`, *optional*): text appended to each plain-text prompt, on a separate line.
        conversational (`bool`, *optional*, defaults to `False`): whether plain-text prompts become user messages.
        measure_steps (`int`, *optional*, defaults to `0`): optimizer steps between two measurements of held-out
            accuracy, without any prefix and by the first reward, written to `curve.jsonl`; 0 measures nothing.
        measure_split (`str`, *optional*, defaults to `"test"`): split with the held-out problems.
        measure_rows (`int`, *optional*): number of held-out problems, from the first; defaults to all.
        measure_max_new_tokens (`int`, *optional*, defaults to `512`): token budget of each answer in a measurement.
        eval_benchmarks (`list[str]`, *optional*): benchmarks of `prefix-rft eval` for each evaluation of
            `eval_strategy`, instead of the test split. SFT also computes its loss on the test split.
        eval_num_samples (`int`, *optional*): answers to each problem of `eval_benchmarks`.
        eval_num_problems (`int`, *optional*): number of problems of each benchmark, from the first; defaults to all.
        lab_level (`str`, *optional*, defaults to `"easy"`): level of the lab's task and base model, `easy` or `hard`.
        lab_style (`str`, *optional*, defaults to `"worked"`): style of lab demonstrations, `worked` or `brief`.
        lab_damaged_share (`float`, *optional*, defaults to `0.0`): share of lab demonstrations with a wrong step.
        lab_demonstrated_share (`float`, *optional*, defaults to `1.0`): share of lab problems with a demonstration.
        reasoning_gym (`dict`, *optional*): options of `dataset_name: reasoning_gym/<task>` as JSON: `size` (1000),
            `test_size` (200), `seed` (0), and those of the task, such as `{"max_terms": 3}`.
        overwrite (`bool`, *optional*, defaults to `False`): whether to remove the run that `output_dir` holds:
            checkpoints, curve, model. Without it, a folder that holds a run is refused.
    """

    trainer: str = field(default="prefix_grpo", metadata={"choices": list(CONFIGS)})
    reward_funcs: list[str] | None = None
    reward_kwargs: dict | str | None = None
    model_changes: dict | str | None = None
    prompt_column: str = "prompt"
    instruction: str | None = None
    conversational: bool = False
    measure_steps: int = 0
    measure_split: str = "test"
    measure_rows: int | None = None
    measure_max_new_tokens: int = 512
    eval_benchmarks: list[str] | None = None
    eval_num_samples: int | None = None
    eval_num_problems: int | None = None
    lab_level: str = "easy"
    lab_style: str = "worked"
    lab_damaged_share: float = 0.0
    lab_demonstrated_share: float = 1.0
    reasoning_gym: dict | str | None = None
    overwrite: bool = False

    def __post_init__(self):
        for setting in ("reward_kwargs", "reasoning_gym", "model_changes"):
            setattr(self, setting, read_dict(setting, getattr(self, setting)))


class SettingsParser(TrlParser):
    """TrlParser whose errors do not print all 300 settings."""

    def error(self, message: str):
        raise UserError(f"{message.rstrip('.')}. `prefix-rft train --help` lists the settings.")


def make_parser(trainer: str = DEFAULT_TRAINER) -> SettingsParser:
    if trainer not in CONFIGS:
        raise UserError(f"unknown trainer {trainer!r}. Known: {', '.join(CONFIGS)}.")
    types = (PrefixScriptArguments, CONFIGS[trainer], ModelConfig)
    return SettingsParser(types, prog="prefix-rft train", allow_abbrev=False)


def is_setting(trainer: str, name: str) -> bool:
    """Whether a trainer, or what launches it, has a setting."""
    return name in _settings(trainer)


@cache
def _settings(trainer: str) -> set[str]:
    actions = [*make_parser(trainer)._actions, *launch_command_parser()._actions]
    flags = {flag.removeprefix("--").replace("-", "_") for action in actions for flag in action.option_strings}
    return {"accelerate_config", "env", *flags, *(action.dest for action in actions)}


def split_launcher_flags(recipe: Recipe) -> tuple[list[str], Recipe]:
    """
    The flags for `accelerate launch` from recipe and command line, and the recipe without those of the command line.

    The values of the other settings are checked in the processes that are launched: only they know their number.

    Raises:
        UserError: for a setting that neither the trainer nor the launcher has.
    """
    parser, launcher = recipe.parser(), launch_command_parser()
    trainer_settings = {action.dest for action in parser._actions}
    launcher_settings = {action.dest for action in launcher._actions} | {"accelerate_config"}
    others = {name: value for name, value in recipe.settings.items() if name not in trainer_settings | {"env"}}
    from_recipe = [part for name, value in others.items() for part in (f"--{name}", str(value))]
    from_line = parser.parse_known_args(recipe.flags)[1]
    for origin, rest in (("recipe", from_recipe), ("command line", from_line)):
        for flag in rest:
            name = flag.removeprefix("--").partition("=")[0].replace("-", "_")
            if flag.startswith("--") and name not in launcher_settings:
                raise UserError(
                    f"unknown setting '{name}' in the {origin}.{nearest(name, trainer_settings | launcher_settings)}"
                )
    flags = [*from_recipe, *from_line]
    for place, flag in enumerate(flags[:-1], 1):
        if flag == "--accelerate_config":
            flags[place] = str(find_recipe_file(flags[place]))
    with as_user_error(ValueError):
        flags = resolve_accelerate_config_argument(flags)
    return flags, replace(recipe, flags=_subtract_subsequence(recipe.flags, from_line))
