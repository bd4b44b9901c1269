"""How a run asks its model for answers, in the run's folder: an evaluation asks it the same way."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any


RUN_SETTINGS = "run_settings.json"
OF_FORM = {  # rewards that say nothing of whether an answer is right
    "think_format_reward",
    "get_cosine_scaled_reward",
    "get_repetition_penalty_reward",
    "get_soft_overlong_punishment",
}


@dataclass(frozen=True)
class RunSettings:
    """
    What an evaluation takes over from the recipe of a run.

    Args:
        instruction (`str`, *optional*): text put after each prompt.
        conversational (`bool`, *optional*): whether plain prompts are made a user's message; by default they are if
            the model has a chat template.
        chat_template_kwargs (`dict`): further arguments of the chat template.
        reward (`str`, *optional*): name or dotted path of the first reward that tells right answers.
        reward_kwargs (`dict`): its arguments.
        max_new_tokens (`int`, *optional*): budget of an answer in tokens.
        lab_level (`str`): level of the lab's task.
    """

    instruction: str | None = None
    conversational: bool | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    reward: str | None = None
    reward_kwargs: dict[str, Any] = field(default_factory=dict)
    max_new_tokens: int | None = None
    lab_level: str = "easy"

    @classmethod
    def of_recipe(cls, script_args: Any, training_args: Any, prompt: Any) -> "RunSettings":
        """Those of the settings that `prefix-rft train` was given; `prompt` is one of its dataset.

        Of prompts that are messages in the dataset nobody knows which part of them is an instruction.
        """
        is_text = isinstance(prompt, str)
        given = script_args.reward_funcs or []
        rewards = [given] if isinstance(given, str) else given
        reward = next((name for name in rewards if name not in OF_FORM), None)
        measured = script_args.measure_max_new_tokens if script_args.measure_steps else None
        return cls(
            script_args.instruction or ("" if is_text else None),
            not is_text,
            getattr(training_args, "chat_template_kwargs", None) or {},
            reward,
            (script_args.reward_kwargs or {}).get(reward, {}),
            getattr(training_args, "max_completion_length", measured),
            script_args.lab_level,
        )

    def write(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / RUN_SETTINGS).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def settings_of_run(model: str) -> RunSettings | None:
    """Those of the run that has made a model: in its folder, or in that above it for a checkpoint; `None` without."""
    for folder in (Path(model), Path(model).parent):
        if (folder / RUN_SETTINGS).is_file():
            content = json.loads((folder / RUN_SETTINGS).read_text())
            known = {field.name for field in fields(RunSettings)}
            return RunSettings(**{name: value for name, value in content.items() if name in known})
    return None
