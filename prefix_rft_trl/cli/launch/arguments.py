"""Settings of a recipe: those of the training script, the trainer and the model, and the flags of the launcher."""

import argparse
import warnings
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import chain
from typing import Any

from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig, ScriptArguments, TrlParser
from trl.cli.accelerate_config import resolve_accelerate_config_argument
from trl.cli.commands.training import _subtract_subsequence

from prefix_rft_trl.cli.flags import read_dict
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.data.data_files import check_source
from prefix_rft_trl.rewards.registry import check_reward_name
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.trajectories.tool_registry import check_tool_name, environment_paths
from prefix_rft_trl.utils.documented import documented
from prefix_rft_trl.utils.errors import UserError, as_user_error, nearest
from prefix_rft_trl.utils.recipe_files import find_recipe_file
from prefix_rft_trl.utils.setting_ranges import check_settings
from prefix_rft_trl.utils.setting_types import check_known, check_type, choices_of, type_hints

from .launching import has_default_config
from .packages import check_packages
from .recipe import DEFAULT_TRAINER, Recipe, naming_hint, owner_hint


SCRIPT = "script.py"  # stands for the one that is launched
OF_OTHER_SCRIPTS = ("module", "no_python")  # of the launcher, which always launches ours
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
        tools (`list[str]`, *optional*): functions that rollouts may call, by registered name (`lab_calculate`) or
            dotted path. Prompts are messages then, and demonstrations have tool calls (docs/agents.md).
        environment_factory (`str` or `dict`, *optional*): dotted path of a class or function that makes an
            environment, whose methods rollouts may call; or, as JSON, such paths by the name that rows have in their
            column `environment`, such as `{"shop": "my_environments.Shop"}` (docs/agents.md).
        model_changes (`dict`, *optional*): longer context, chat template or end of turn for the model, as JSON such as
            `{"folder": "models/mine", "config": {"rope_theta": 40000}}`. The changed model is a folder with links to
            the weights (`prefix_rft_trl/models/changes.py`).
        dataset_test_file (`str`, *optional*): file of held-out problems, which is the split `test` then.
        test_share (`float`, *optional*, defaults to `0.0`): share of the training problems that is held out, as the
            split `test`. They are never trained on, and rows with equal prompts stay together.
        test_seed (`int`, *optional*, defaults to `0`): seed of that draw, whatever `seed` is.
        demonstration_dataset_name (`str`, *optional*): a second dataset, named as `dataset_name` is and with columns
            of the same names, of which `per_device_demonstration_batch_size` demonstrations are trained beside each
            micro-batch (CHORD). `lab` has problems that are neither trained on nor held out. Problems that
            `measure_steps` measures are left out.
        demonstration_dataset_config (`str`, *optional*): configuration of a second dataset on the Hub.
        demonstration_dataset_split (`str`, *optional*): split or slice of the second dataset; defaults to `train`, of
            `lab` to `demonstrations`.
        prompt_column (`str`, *optional*, defaults to `"prompt"`): column with the prompts.
        instruction (`str`, *optional*): text appended to each prompt, on a separate line. Prompts that are messages
            refuse it.
        conversational (`bool`, *optional*, defaults to `False`): whether plain-text prompts become user messages.
        measure_steps (`int`, *optional*, defaults to `0`): optimizer steps between two measurements of held-out
            accuracy, without any prefix and by the first reward, written to `curve.jsonl`; 0 measures nothing.
        measure_split (`str`, *optional*, defaults to `"test"`): split with the held-out problems, or a slice that
            shares no row with `dataset_train_split`, such as `train[240:]` with `train[:240]`.
        measure_rows (`int`, *optional*): number of held-out problems, from the first; defaults to all.
        measure_max_new_tokens (`int`, *optional*, defaults to `512`): token budget of each answer in a measurement.
        eval_benchmarks (`list[str]`, *optional*): benchmarks of `prefix-rft eval` for each evaluation of
            `eval_strategy`, instead of the test split. SFT also computes its loss on the test split.
        eval_num_samples (`int`, *optional*): answers to each problem of `eval_benchmarks`.
        eval_num_problems (`int`, *optional*): number of problems of each benchmark, from the first; defaults to all.
        lab_level (`str`, *optional*, defaults to `"easy"`): level of the lab's task and base model: `easy`,
            `hard`, `hard_third` or `hard_half`; `sums` for SmolLM2-135M-Instruct (docs/real_model.md); `agent` for
            problems that are solved by calling a tool (docs/lab_agent.md).
        lab_style (`str`, *optional*, defaults to `"worked"`): style of lab demonstrations: `worked`, `swapped`,
            `brief` or `paired`.
        lab_corrupted_share (`float`, *optional*, defaults to `0.0`): share of lab demonstrations with a wrong step.
        lab_demonstrated_share (`float`, *optional*, defaults to `1.0`): share of lab problems with a demonstration.
        reasoning_gym (`dict`, *optional*): options of `dataset_name: reasoning_gym/<task>` as JSON: `size` (1000),
            `test_size` (200), `seed` (0), and those of the task, such as `{"max_terms": 3}`.
        overwrite (`bool`, *optional*, defaults to `False`): whether to remove the run that `output_dir` holds:
            checkpoints, curve, model. Without it, a folder that holds a run is refused.
    """

    trainer: str = field(default="prefix_grpo", metadata={"choices": list(CONFIGS)})
    reward_funcs: list[str] | None = None
    reward_kwargs: dict | str | None = None
    tools: list[str] | None = None
    environment_factory: dict | str | None = None
    model_changes: dict | str | None = None
    dataset_test_file: str | None = None
    test_share: float = 0.0
    test_seed: int = 0
    demonstration_dataset_name: str | None = None
    demonstration_dataset_config: str | None = None
    demonstration_dataset_split: str | None = None
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
    lab_corrupted_share: float = 0.0
    lab_demonstrated_share: float = 1.0
    reasoning_gym: dict | str | None = None
    overwrite: bool = False

    def __post_init__(self):
        for setting in ("reward_kwargs", "reasoning_gym", "model_changes"):
            setattr(self, setting, read_dict(setting, getattr(self, setting)))
        self.environment_factory = read_environments(self.environment_factory)
        for setting in ("reward_funcs", "tools", "eval_benchmarks"):
            value = getattr(self, setting)
            setattr(self, setting, [value] if isinstance(value, str) else value)


def read_environments(value: Any) -> Any:
    """The value of `environment_factory`: a dotted path, or a mapping, which a command line gives as JSON."""
    return read_dict("environment_factory", value) if isinstance(value, str) and value.startswith("{") else value


class SettingsParser(TrlParser):
    """TrlParser with errors that name a setting and do not print all 300 of them."""

    def error(self, message: str):
        raise UserError(f"{message.rstrip('.')}. `prefix-rft train --help` lists the settings.")

    @property
    def hints(self) -> dict[str, Any]:
        return {name: hint for kind in self.dataclass_types for name, hint in type_hints(kind).items()}

    def set_defaults_with_config(self, **settings: Any) -> list[str]:
        """The values of a recipe as defaults. `no`, which YAML reads as false, is text for a setting that has it."""
        with_no = {name for name, hint in self.hints.items() if "no" in choices_of(hint)} | {"report_to"}
        words = {name: "none" if name == "report_to" else "no" for name in with_no if settings.get(name) is False}
        return super().set_defaults_with_config(**{**settings, **words})

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        if arg_string == "false" and "no" in choices_of(self.hints.get(action.dest)):  # from a comparison's YAML
            return "no"
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            with as_user_error(ValueError):
                check_type(action.dest, self.hints.get(action.dest, Any), arg_string)
            raise

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None:
            with as_user_error(ValueError):
                check_known(action.dest, value, action.choices)


def make_parser(trainer: Any = DEFAULT_TRAINER) -> SettingsParser:
    if trainer not in list(CONFIGS):
        raise UserError(f"unknown trainer {trainer!r}. Known: {', '.join(CONFIGS)}.")
    types = (PrefixScriptArguments, CONFIGS[trainer], ModelConfig)
    return SettingsParser(types, prog="prefix-rft train", allow_abbrev=False)


def check_values(recipe: Recipe) -> None:
    """Check the settings of a recipe and its flags as far as that takes no device.

    Raises:
        UserError: naming the first setting that cannot be used, what was found, and the fix.
    """
    parser = recipe.parser
    values = parser.parse_known_args(recipe.flags)[0]
    with as_user_error(ValueError):
        for kind in parser.dataclass_types:
            if hasattr(kind, "check"):
                unmade = kind.__new__(kind)
                vars(unmade).update({field.name: getattr(values, field.name) for field in fields(kind)})
                unmade.check()
            else:
                check_settings(kind, vars(values))
        for name in [values.reward_funcs] if isinstance(values.reward_funcs, str) else values.reward_funcs or []:
            check_reward_name(name)
        for name in [values.tools] if isinstance(values.tools, str) else values.tools or []:
            check_tool_name(name)
        if values.environment_factory is not None:
            environment_paths(read_environments(values.environment_factory))
    recipe.check_environment()


def is_setting(trainer: str, name: str) -> bool:
    """Whether a trainer, or what launches it, has a setting."""
    return name in settings_of(trainer)


@cache
def settings_of(trainer: str) -> set[str]:
    """Names of the settings of a trainer, and of what launches it."""
    actions = [*make_parser(trainer)._actions, *launch_command_parser()._actions]
    flags = {flag.removeprefix("--").replace("-", "_") for action in actions for flag in action.option_strings}
    return {"accelerate_config", "env", *flags, *(action.dest for action in actions)}


def split_launcher_flags(recipe: Recipe) -> tuple[list[str], Recipe]:
    """
    The flags for `accelerate launch` from recipe and command line, and the recipe without those of the command line.

    The values of the other settings are checked as far as that takes no device. The processes that are launched, which
    alone know their number, check the rest.

    Raises:
        UserError: for a setting that neither the trainer nor the launcher has, or a value that it cannot have.
    """
    parser, launcher = recipe.parser, launch_command_parser()
    launcher.error = parser.error
    trainer_settings = {action.dest for action in parser._actions}
    launcher_settings = {action.dest: action for action in launcher._actions if action.option_strings}
    known = trainer_settings | {*launcher_settings, "accelerate_config", "env"}
    if refused := [name for name in OF_OTHER_SCRIPTS if name in recipe.settings]:
        raise UserError(f"`{refused[0]}` is for launching scripts of your own. Leave it out.")
    others = {name: value for name, value in recipe.settings.items() if name not in trainer_settings | {"env"}}
    from_line = parser.parse_known_args(recipe.flags)[1]
    flags_of_line = {flag.removeprefix("--").partition("=")[0] for flag in from_line if flag.startswith("--")}
    named_by_line = {name.replace("-", "_"): None for name in flags_of_line}
    for origin, names in (("recipe", others), ("command line", named_by_line)):
        for name, value in names.items():
            if name not in known:
                hint = naming_hint(name, value, known.__contains__) or owner_hint(name, is_setting)
                hint = hint or nearest(name, known)
                raise UserError(f"unknown setting '{name}' in the {origin}.{hint}")
    check_values(recipe)
    words = (_launcher_words(name, value, launcher_settings.get(name)) for name, value in others.items())
    flags = [*chain.from_iterable(words), *from_line]
    for place, flag in enumerate(flags[:-1], 1):
        if flag == "--accelerate_config":
            flags[place] = str(find_recipe_file(flags[place]))
    with as_user_error(ValueError):
        flags = resolve_accelerate_config_argument(flags)
    first_word = launcher.parse_known_args([*flags, SCRIPT])[0].training_script
    if first_word != SCRIPT:
        raise UserError(f"{first_word!r} belongs to no setting. A setting is given as `--setting value`.")
    return flags, replace(recipe, flags=_subtract_subsequence(recipe.flags, from_line))


def check_stage(recipe: Recipe, on_any_device: bool = False) -> argparse.Namespace:
    """The settings of a stage, checked as far as one process can.

    Args:
        recipe (`Recipe`): of one stage.
        on_any_device (`bool`, *optional*, defaults to `False`): whether this process may take a device for it.

    Raises:
        UserError: naming the first setting that cannot be used, what was found, and the fix.
    """
    try:
        launcher_flags, recipe = split_launcher_flags(recipe)
        values = recipe.parser.parse_known_args(recipe.flags)[0]
        if not launcher_flags and not has_default_config() and (on_any_device or values.use_cpu):
            with as_user_error(ValueError), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are shown when it is trained
                made = recipe.parser.parse_args_into_dataclasses([*recipe.flags, "--output_dir", "runs"])
                check_packages(*made[1:])
        if values.dataset_name:
            with as_user_error(ValueError):
                check_source(values.dataset_name, bool(values.dataset_streaming))
                if values.demonstration_dataset_name:
                    check_source(values.demonstration_dataset_name, False)
                if values.dataset_test_file:
                    check_source(values.dataset_test_file, bool(values.dataset_streaming))
    except UserError as error:
        if not recipe.stage:
            raise
        raise UserError(f"stage '{recipe.stage}': {error}") from error
    return values


def _launcher_words(name: str, value: Any, action: argparse.Action | None) -> list[str]:
    """The value of a launcher's setting in a recipe as a command line."""
    if value is None:
        raise UserError(f"`{name}` has no value. Give it one, or leave the setting out.")
    if isinstance(value, dict | list):
        raise UserError(f"`{name}` takes one value, found {value!r:.80}.")
    if action is not None and action.nargs == 0:
        with as_user_error(ValueError):
            check_type(name, bool, value)
        return [f"--{name}"] if value else []
    if value is False and action is not None and "no" in (action.choices or ()):  # what YAML reads there
        return [f"--{name}", "no"]
    return [f"--{name}", str(value)]
