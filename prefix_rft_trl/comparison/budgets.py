"""What the methods of a comparison were given: prompts, sampled rollouts and demonstrations, from their settings."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Budget:
    """What one run sees on one process. A prompt or a demonstration counts each time it is drawn.

    Attributes:
        prompts (`int`): that rollouts are made for.
        sampled (`int`): rollouts that the policy writes, or goes on with from a prefix.
        demonstrations (`int`): that are trained on as a whole.
    """

    prompts: int
    sampled: int
    demonstrations: int


def budget(settings: dict[str, Any]) -> Budget | None:
    """Of all stages together; `None` if the settings do not tell."""
    stages = list(dict.fromkeys(name.partition(".")[0] for name in settings if "." in name)) or [""]
    of_stages = [budget_of_stage(settings_of_stage(settings, stage)) for stage in stages]
    told = [of_stage for of_stage in of_stages if of_stage is not None]
    if len(told) < len(of_stages):
        return None
    return Budget(
        sum(of_stage.prompts for of_stage in told),
        sum(of_stage.sampled for of_stage in told),
        sum(of_stage.demonstrations for of_stage in told),
    )


def settings_of_stage(settings: dict[str, Any], stage: str) -> dict[str, Any]:
    shared = {name: value for name, value in settings.items() if "." not in name}
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{stage}.")}
    return shared | own


def budget_of_stage(settings: dict[str, Any]) -> Budget | None:
    steps, batch = settings.get("max_steps", -1), settings.get("per_device_train_batch_size")
    if steps < 1 or batch is None:
        return None
    rows = steps * batch * settings.get("gradient_accumulation_steps", 1)
    if settings.get("trainer") == "sft":
        return Budget(0, 0, rows)
    rollouts = rows // settings.get("num_iterations", 1)
    prompts = rollouts // settings.get("num_generations", 8)
    is_whole = settings.get("prefix_ratio_schedule") == "whole"
    whole = prompts * settings.get("num_prefix_generations", 1) if is_whole else 0
    return Budget(prompts, rollouts - whole, whole)
