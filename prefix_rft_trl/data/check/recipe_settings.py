"""What a recipe says of its dataset and of how much room there is."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RecipeSettings:
    """The settings of a recipe that a check needs, by their names in the recipe; `None` where it has none.

    Attributes:
        lab (`dict`): level and demonstrations of the lab, as `lab.load_dataset` takes them.
        reasoning_gym (`dict`): size, seed and options of a task, as `gym.load_splits` takes them.
        rolls_out (`bool`): whether rollouts are sampled, so that `max_completion_length` counts.
    """

    model_name_or_path: str | None = None
    dataset_name: str | None = None
    dataset_config: str | None = None
    dataset_train_split: str | None = None
    prompt_column: str | None = None
    demonstration_column: str | None = None
    answer_column: str | None = None
    instruction: str | None = None
    conversational: bool = False
    max_completion_length: int | None = None
    vllm_max_model_length: int | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    lab: dict[str, Any] = field(default_factory=dict)
    reasoning_gym: dict[str, Any] = field(default_factory=dict)
    model_changes: dict[str, Any] = field(default_factory=dict)
    reward_funcs: tuple[str, ...] = ()
    rolls_out: bool = False


def recipe_settings(recipe: dict[str, Any]) -> RecipeSettings:
    """The settings of a recipe; of one with stages, those of its last stage with rollouts."""
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    stages = [{**shared, **own} for own in (recipe.get("stages") or {"": {}}).values()]
    with_rollouts = [stage for stage in stages if stage.get("trainer") != "sft"]
    chosen = [*stages, *with_rollouts][-1]
    read_apart = {"lab", "rolls_out", "chat_template_kwargs", "reasoning_gym", "model_changes", "reward_funcs"}
    named = set(RecipeSettings.__dataclass_fields__) - read_apart
    return RecipeSettings(
        **{name: chosen[name] for name in named if chosen.get(name) is not None},
        chat_template_kwargs=_mapping(chosen.get("chat_template_kwargs")),
        reasoning_gym=_mapping(chosen.get("reasoning_gym")),
        model_changes=_mapping(chosen.get("model_changes")),
        lab={name.removeprefix("lab_"): value for name, value in chosen.items() if name.startswith("lab_")},
        reward_funcs=tuple(chosen.get("reward_funcs") or ()),
        rolls_out=bool(with_rollouts),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return json.loads(value) if isinstance(value, str) else dict(value or {})
