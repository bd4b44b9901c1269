"""What the methods of a comparison were given: prompts and rollouts from their settings."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rollouts:
    """`count` rollouts for `prompts` prompts, a prompt counted each time it is drawn."""

    count: int
    prompts: int


def rollouts(settings: dict[str, Any]) -> Rollouts | None:
    """Rollouts of all stages on one process; `None` without a stage that samples, or if its settings do not tell."""
    stages = [name[: -len("num_generations")] for name in settings if is_setting(name, "num_generations")]
    own = [stage for stage in stages if stage] or stages
    counted = [rollouts_of_stage(settings, stage) for stage in own]
    told = [stage for stage in counted if stage is not None]
    if not told or len(told) < len(counted):
        return None
    return Rollouts(sum(stage.count for stage in told), sum(stage.prompts for stage in told))


def is_setting(name: str, setting: str) -> bool:
    return name == setting or name.endswith("." + setting)


def rollouts_of_stage(settings: dict[str, Any], stage: str) -> Rollouts | None:
    def look_up(name: str, default: int | None = None) -> Any:
        return settings.get(stage + name, settings.get(name, default))

    steps, batch = look_up("max_steps"), look_up("per_device_train_batch_size")
    if steps is None or steps < 1 or batch is None:
        return None
    count = steps * batch * look_up("gradient_accumulation_steps", 1) // look_up("num_iterations", 1)
    return Rollouts(count, count // look_up("num_generations"))
