"""Record how a run prompts its model and verifies its answers, so that an evaluation does the same."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from prefix_rft_trl.data.gym import NAME_PREFIX
from prefix_rft_trl.data.prompts import Prompt, shared_parts
from prefix_rft_trl.lab.task import LEVEL_NAMES
from prefix_rft_trl.rewards.registry import ARGUMENTS_OF_FOLDERS, FORMAT_REWARDS
from prefix_rft_trl.rewards.verification.worker_pool import check_time_limit
from prefix_rft_trl.utils.files import read_object, write_atomically
from prefix_rft_trl.utils.redaction import redacted
from prefix_rft_trl.utils.setting_ranges import check_settings
from prefix_rft_trl.utils.setting_types import check_known, check_type


RUN_SETTINGS = "run_settings.json"
FINGERPRINT = "fingerprint"  # key of what identifies the run ([`~prefix_rft_trl.run.fingerprint.RunFingerprint`])
Settings = TypeVar("Settings", bound="AnswerSettings")


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """
    How answers are prompted for and verified. `None` leaves a setting open.

    Args:
        instruction (`str`, *optional*): text on a line of its own after each problem; empty for none.
        system_prompt (`str`, *optional*): text in front of each problem, as a message of its own; empty for none.
        conversational (`bool`, *optional*): whether a problem that is plain text becomes a user's message.
        chat_template_kwargs (`dict`, *optional*): further arguments of the chat template.
        reward (`str`, *optional*): name or dotted path of the reward that verifies answers.
        reward_kwargs (`dict`, *optional*): arguments of the reward.
        max_new_tokens (`int`, *optional*): budget of an answer in tokens.
        lab_level (`str`, *optional*): level of the lab's task.
    """

    instruction: str | None = None
    system_prompt: str | None = None
    conversational: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reward: str | None = None
    reward_kwargs: dict[str, Any] | None = None
    max_new_tokens: int | None = None
    lab_level: str | None = None

    def merged_with(self: Settings, other: "AnswerSettings") -> Settings:
        """These settings, with those that they leave open taken from others."""
        names = [field.name for field in fields(AnswerSettings) if getattr(self, field.name) is None]
        return replace(self, **{name: getattr(other, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class RunSettings(AnswerSettings):
    """
    The answer settings of a run, in its folder.

    Args:
        calls_tools (`bool`): whether the rollouts of the run could call tools.
        file (`str`, *optional*): the file that they were read from. Somebody else may have written it.
    """

    calls_tools: bool = False
    file: str | None = field(default=None, compare=False)

    @classmethod
    def from_recipe(cls, script_args: Any, training_args: Any, prompts: Sequence[Prompt]) -> "RunSettings":
        """The settings of a training.

        Args:
            script_args, training_args: what `prefix-rft train` was given.
            prompts (`Sequence[str | list[dict]]`): some of its training prompts. System prompt and instruction are
                what they share, whether the recipe or the dataset has put it there.
        """
        is_text = isinstance(prompts[0], str)
        is_gym = (script_args.dataset_name or "").startswith(NAME_PREFIX)  # what its prompts share belongs to the task
        found = None if is_gym else shared_parts(prompts)
        system_prompt, instruction = found or (None, script_args.instruction or ("" if is_text or is_gym else None))
        names = [script_args.reward_funcs] if isinstance(script_args.reward_funcs, str) else script_args.reward_funcs
        reward = next((name for name in names or [] if name not in FORMAT_REWARDS), None)
        measured = script_args.measure_max_new_tokens if script_args.measure_steps else None
        return cls(
            instruction=instruction,
            system_prompt=system_prompt,
            conversational=not is_text,
            chat_template_kwargs=getattr(training_args, "chat_template_kwargs", None) or {},
            reward=reward,
            reward_kwargs=(script_args.reward_kwargs or {}).get(reward, {}),
            max_new_tokens=getattr(training_args, "max_completion_length", measured),
            lab_level=script_args.lab_level,
            calls_tools=any(getattr(script_args, name, None) for name in ("tools", "environment_factory")),
        )

    def write(self, folder: str | Path, fingerprint: dict[str, Any] | None = None) -> None:
        """Writes the settings into the folder of the run, with those that identify it, and without secrets."""
        settings = {name: value for name, value in asdict(self).items() if name != "file"}
        text = json.dumps(redacted({**settings, FINGERPRINT: fingerprint}), indent=1, ensure_ascii=False)
        write_atomically(Path(folder) / RUN_SETTINGS, f"{text}\n")


def settings_of_run(model: str) -> RunSettings | None:
    """The settings in the folder of a run's model, or in the folder above a checkpoint; `None` without any.

    A model that is no folder, such as one on the Hub, has none.

    Raises:
        ValueError: if a setting has another type or value than it should.
    """
    if not (model and Path(model).is_dir()):
        return None
    for folder in (Path(model), Path(os.path.abspath(model)).parent):
        if content := read_run_settings(folder):
            file, known = folder / RUN_SETTINGS, {field.name for field in fields(AnswerSettings)}
            settings = {name: value for name, value in content.items() if name in known}
            calls_tools = content.get("calls_tools") is True
            try:
                return RunSettings(**_checked(settings), calls_tools=calls_tools, file=str(file))
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from error
    return None


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that somebody else may have written, of the reward's arguments those that can be taken from there."""
    check_settings(AnswerSettings, settings)
    if settings.get("lab_level") is not None:
        check_known("lab_level", settings["lab_level"], LEVEL_NAMES)
    given = settings.get("reward_kwargs") or {}
    arguments = {name: given[name] for name in ARGUMENTS_OF_FOLDERS if name in given}
    for name, hint in (("answer_markers", list[str] | str | None), ("solution_column", str)):
        if name in arguments:
            check_type(name, hint, arguments[name])
    if "time_limit" in arguments:
        check_time_limit(arguments["time_limit"])
    return {**settings, "reward_kwargs": arguments}


def read_run_settings(folder: Path) -> dict[str, Any]:
    """All that the settings file of a run holds; nothing without one. Raises `ValueError` if it is damaged."""
    file = folder / RUN_SETTINGS
    return read_object(file, "Remove it.") if file.is_file() else {}
