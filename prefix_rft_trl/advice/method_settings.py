"""Settings that make a recipe one of a method, whatever method it was one of before."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from prefix_rft_trl.config import PrefixGRPOConfig


Settings = dict[str, Any]

ROLLOUTS = "prefix_grpo"
ALL = "all"  # rollouts of a group
HINTED_SHARE = 0.6  # of a run of UFT
OF_THE_METHOD = (
    "num_prefix_generations",
    "demonstration_source",
    "own_successes_start",
    "per_device_demonstration_batch_size",
)
NOT_OF_THE_METHOD = ("prefix_success_reward", "prefix_gradient_norm_steps")
WHERE_PREFIXES_ARE = ("prefix_placement", "prefix_prompt_share", "prefix_stage_")  # refused where there are none
OF_HINTS = {"prefix_hint_template", "prefix_hint_in_loss"}  # which stay where there are hints
HINT_OF_LAB = "{prompt}{hint}"  # its model knows no other characters
OF_ROLLOUTS: dict[str, Settings] = {  # besides the defaults, as in recipes/lab
    "grpo": {"num_prefix_generations": 0},
    "prefix_rft": {},
    "luffy": {
        "prefix_ratio_schedule": "whole",
        "prefix_top_entropy_quantile": 1.0,
        "prefix_loss_type": "shaped",
    },
    "uft": {
        "num_prefix_generations": ALL,
        "prefix_shared_in_group": True,
        "prefix_ratio_distribution": "binomial",
        "prefix_top_entropy_quantile": 1.0,
        "prefix_loss_type": "cross_entropy",
        "prefix_loss_coef": 1.0,
    },
    "hpt": {
        "prefix_ratio_schedule": "whole",
        "prefix_top_entropy_quantile": 1.0,
        "prefix_advantage": "on_policy",
        "prefix_loss_type": "cross_entropy",
        "prefix_loss_normalization": "prompts",
        "prefix_loss_coef": 1.0,
        "prefix_gate": 0.0,
        "prefix_gate_drops_rollouts": True,
    },
    "pope": {
        "num_prefix_generations": ALL,
        "prefix_shared_in_group": True,
        "prefix_prompt_share": 0.5,
        "prefix_ratio_schedule": "constant",
        "prefix_ratio_high": 0.25,
        "prefix_ratio_low": 0.25,
        "prefix_placement": "prompt",
    },
    "trapo": {
        "num_prefix_generations": 0,
        "prefix_stage_ratios": [0.25, 0.5, 1.0],
        "prefix_stage_generations": [2, 1, 1],
        "prefix_stage_thresholds": [0.49, 0.66, 0.99],
        "prefix_stage_replaces": "none",
        "prefix_top_entropy_quantile": 1.0,
        "prefix_loss_type": "trust_region",
        "prefix_loss_normalization": "loss",
        "prefix_loss_coef": 1.0,
    },
}
SIGNATURE = (
    "prefix_ratio_distribution",
    "prefix_loss_type",
    "prefix_gate",
    "prefix_gate_drops_rollouts",
    "prefix_placement",
    "prefix_shared_in_group",
    "prefix_prompt_share",
    "prefix_advantage",
    "demonstration_source",
    "per_device_demonstration_batch_size",
)
DEFAULTS: Settings = {
    field.name: getattr(PrefixGRPOConfig, field.name, None)
    for field in fields(PrefixGRPOConfig)
    if field.name in OF_THE_METHOD or (field.name.startswith("prefix_") and field.name not in NOT_OF_THE_METHOD)
}


def settings_for(method: str, given: Mapping[str, Any]) -> Settings:
    """The settings by which a recipe of rollouts differs from the same one of another method; none if it is one of it.

    Args:
        method (`str`): a key of `OF_ROLLOUTS`.
        given (`Mapping`): all settings of the recipe, of whatever trainer.
    """
    group = given.get("num_generations", PrefixGRPOConfig.num_generations)
    own = {name: group if value == ALL else value for name, value in OF_ROLLOUTS[method].items()}
    own |= _for_group(own, group)
    if method == "uft" and given.get("max_steps", 0) > 0:
        own["prefix_ratio_decay_steps"] = max(1, round(HINTED_SHARE * given["max_steps"]))
    if _signature(given) == _signature(own | {"num_generations": group}):
        return {}
    wanted = DEFAULTS | own
    if own.get("prefix_placement") == "prompt":
        kept = {"prefix_hint_template": HINT_OF_LAB} if given.get("dataset_name") == "lab" else {}
        wanted |= kept | {name: given[name] for name in OF_HINTS if name in given}
    if own.get("prefix_ratio_schedule") != "whole" and "prefix_exclude_answer" in given:
        wanted["prefix_exclude_answer"] = given["prefix_exclude_answer"]
    if not (own.get("num_prefix_generations", 1) or "prefix_stage_ratios" in own):
        decisive = (*OF_THE_METHOD, *WHERE_PREFIXES_ARE)
        wanted = {name: value for name, value in wanted.items() if name.startswith(decisive)}
    return {name: value for name, value in wanted.items() if given.get(name, DEFAULTS[name]) != value}


def _for_group(own: Settings, group: int) -> Settings:
    """Stages that leave a group's first pass a rollout: as many of TRAPO's as fit."""
    generations = own.get("prefix_stage_generations", [])
    while sum(generations) >= group:
        generations = generations[1:] if len(generations) == group else [1] * min(len(generations), group - 1)
    lists = [name for name in own if name.startswith("prefix_stage_") and isinstance(own[name], list)]
    shortened = {name: own[name][: len(generations)] for name in lists}
    return shortened | ({"prefix_stage_generations": generations} if generations else {})


def _signature(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """A key that is the same for all recipes of a method, whatever its lengths, rates and schedules are."""

    def of(name: str) -> Any:
        return settings.get(name, DEFAULTS[name])

    prefixed, group = of("num_prefix_generations"), settings.get("num_generations", PrefixGRPOConfig.num_generations)
    return (
        prefixed > 0,
        prefixed == group,
        prefixed > 0 and of("prefix_ratio_schedule") == "whole",
        any(of("prefix_stage_ratios") or []) and of("prefix_stage_replaces"),
        prefixed > 0 and of("prefix_selection") == "none",
        *((of(name) for name in SIGNATURE) if prefixed or of("prefix_stage_ratios") else ()),
    )
