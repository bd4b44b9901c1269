"""Values that the settings of a training can have: tables of ranges and choices, for all that libraries do not check.

TRL and transformers accept these values and fail in the middle of a run, or train something else in silence.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from .setting_trials import try_settings
from .setting_types import check_known, check_types


IS_WITHIN: dict[str, Callable[[float], bool]] = {
    "a finite number": lambda value: True,
    "at least 0": lambda value: value >= 0,
    "at least 1": lambda value: value >= 1,
    "at least 2": lambda value: value >= 2,
    "above 0": lambda value: value > 0,
    "from 0 to 1": lambda value: 0 <= value <= 1,
    "above 0 and at most 1": lambda value: 0 < value <= 1,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    "-1, or at least 1": lambda value: value == -1 or value >= 1,
    "from 0 to 4294967295": lambda value: 0 <= value < 2**32,
    "from 1 to 65535": lambda value: 1 <= value <= 65535,
}
RANGES = {
    name: interval
    for interval, names in {
        "a finite number": "entropy_coef entropy_coef_min entropy_coef_max prefix_success_reward",
        "at least 0": """
            measure_steps learning_rate warmup_steps weight_decay adam_epsilon dataloader_num_workers eval_delay
            eval_steps neftune_noise_alpha router_aux_loss_coef top_k beta epsilon epsilon_high entropy_coef_delta
            entropy_target num_completions_to_print max_grad_norm vllm_importance_sampling_clip_min
            vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg prefix_loss_coef_end
            prefix_loss_coef_warmup_steps per_device_demonstration_batch_size""",
        "at least 1": """
            per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps ddp_timeout
            save_total_limit dataloader_prefetch_factor ddp_bucket_cap_mb eval_accumulation_steps
            torch_empty_cache_steps pad_to_multiple_of num_generations_eval max_completion_length
            generation_batch_size steps_per_generation vllm_tensor_parallel_size vllm_max_model_length num_iterations
            ref_model_sync_steps max_tool_calling_iterations max_length dataset_num_proc lora_r lora_alpha
            prefix_ratio_decay_steps prefix_loss_coef_decay_steps prefix_gradient_norm_steps prefix_stage_max_rollouts
            own_successes_max_problems own_successes_per_problem measure_rows measure_max_new_tokens max_new_tokens
            eval_num_samples eval_num_problems""",
        "at least 2": "num_generations",
        "above 0": """
            num_train_epochs logging_steps save_steps temperature repetition_penalty vllm_server_timeout delta
            sapo_temperature_neg sapo_temperature_pos off_policy_mask_threshold prefix_shaping_gamma prefix_loss_coef
            vllm_importance_sampling_clip_max vllm_importance_sampling_cap""",
        "from 0 to 1": """
            min_p ref_model_mixup_alpha top_entropy_quantile prefix_ratio_low prefix_ratio_high
            prefix_top_entropy_quantile prefix_gate own_successes_start lab_corrupted_share lab_demonstrated_share
            plateau_tolerance""",
        "above 0 and at most 1": "top_p vllm_gpu_memory_utilization prefix_prompt_share",
        "at least 0 and below 1": "adam_beta1 adam_beta2 label_smoothing_factor lora_dropout test_share",
        "-1, or at least 1": "max_steps",
        "from 0 to 4294967295": "seed data_seed test_seed",
        "from 1 to 65535": "vllm_server_port vllm_group_port",
    }.items()
    for name in names.split()
}
MAY_BE_INFINITE = {"max_grad_norm", "delta", "epsilon_high", "prefix_success_reward", "off_policy_mask_threshold"} | {
    "vllm_importance_sampling_clip_max", "vllm_importance_sampling_cap", "vllm_server_timeout",
}  # fmt: skip
UNUSED_WITH = {"logging_steps": ("logging_strategy", "no"), "save_steps": ("save_strategy", "no")}
REMEDIES = {
    "max_steps": "With -1 the length of the run is `num_train_epochs`.",
    "num_generations": "Advantages are differences between the answers to one prompt.",
    "top_k": "With 0 all tokens are candidates.",
    "temperature": "Exploration needs different answers to one prompt; the paper's is 1.",
    "max_grad_norm": "With 0 gradients are not clipped.",
    "save_total_limit": "Leave it out to keep all checkpoints.",
    "measure_rows": "Leave it out for all rows.",
    "test_share": "With 0 no problems are held out.",
    "eval_num_problems": "Leave it out for all problems.",
    "logging_steps": "To log nothing set `logging_strategy: 'no'`.",
    "save_steps": "To save no checkpoints set `save_strategy: 'no'`.",
    "prefix_shaping_gamma": "LUFFY's is 0.1.",
    "prefix_loss_coef": "To leave prefixes untrained set `prefix_selection='none'`.",
    "prefix_ratio_decay_steps": "For no decay set `prefix_ratio_schedule='constant'`.",
}
NOT_NONE = ("num_generations",)  # though its hint allows it

CHOICES = {"include_num_input_tokens_seen": ("all", "non_padding", "no")}  # of every training
GRPO_CHOICES = {
    "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo", "luspo"),
    "scale_rewards": ("group", "batch", "none"),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("colocate", "server"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
}


def check_settings(
    settings_class: type, values: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]] | None = None
) -> None:
    """Check types, ranges and choices of settings.

    Args:
        settings_class (`type`): the dataclass of the settings.
        values (`Mapping`): values by setting.
        choices (`Mapping`, *optional*): the texts that settings can be.

    Raises:
        ValueError: naming the first setting that cannot be used, what was found, and the fix.
    """
    check_types(settings_class, values)
    for name in values.keys() & NOT_NONE:
        if values[name] is None:
            raise ValueError(f"`{name}` has no value. Give it one, or leave the setting out.")
    for name, interval in RANGES.items():
        value = values.get(name)
        if isinstance(value, int | float) and not _is_unused(name, values):
            _check_range(name, value, interval)
    for name, known in {**CHOICES, **(choices or {})}.items():
        if isinstance(values.get(name), str):
            check_known(name, values[name], known)
    try_settings(values)


def _check_range(name: str, value: float, interval: str) -> None:
    is_allowed = math.isfinite(value) or name in MAY_BE_INFINITE
    if not (is_allowed and IS_WITHIN[interval](value)):
        expected = interval if is_allowed or "finite" in interval else f"{interval} and finite"
        remedy = f" {REMEDIES[name]}" if name in REMEDIES else ""
        raise ValueError(f"`{name}` must be {expected}, found {value}.{remedy}")


def _is_unused(name: str, values: Mapping[str, Any]) -> bool:
    setting, value = UNUSED_WITH.get(name, ("", None))
    found = values.get(setting, "")
    return getattr(found, "value", found) == value
