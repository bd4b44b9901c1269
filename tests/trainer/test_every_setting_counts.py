"""No setting of the method does nothing: each changes the weights of some run."""

from dataclasses import fields

import pytest
import torch

from prefix_rft_trl import PrefixGRPOConfig, lab


# What a step computes and logs, columns of the dataset, settings of TRL with another default, and of runs with tools
OTHERS = {
    "trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts", "padding_free",
    "prefix_gradient_norm_steps", "log_all", "loss_type", "scale_rewards", "max_completion_length",
    "demonstration_column", "answer_column", "prefix_unit", "prefix_tool_results",
}  # fmt: skip
CROSS_ENTROPY = {
    "prefix_loss_type": "cross_entropy",
    "prefix_loss_coef": 0.5,
    "prefix_top_entropy_quantile": 1.0,
}
DECAYING = CROSS_ENTROPY | {"prefix_loss_coef_schedule": "linear", "prefix_loss_coef_decay_steps": 4}
LADDER = {"prefix_stage_ratios": [0.3, 0.6], "num_prefix_generations": 0}
OF_OWN = {"prefix_ratio_schedule": "whole", "prefix_prompt_share": 0.5, "prefix_success_reward": 0.3}
OWN = {"demonstration_source": "own", "prefix_top_entropy_quantile": 1.0, **OF_OWN}
# Settings by name: what another setting has to be, and another value than the default, or two values
CASES = {
    "num_prefix_generations": ({}, [2]),
    "prefix_shared_in_group": ({"num_prefix_generations": 2}, [True]),
    "prefix_prompts": ({}, ["failed"]),
    "prefix_prompt_share": ({}, [0.5]),
    "prefix_success_reward": (CROSS_ENTROPY | {"prefix_gate": 0.0}, [0.3]),
    "demonstration_source": (OF_OWN, ["own"]),
    "own_successes_start": (OWN, [1.0]),
    "own_successes_max_problems": (OWN, [1]),
    "own_successes_per_problem": (OWN, [1]),
    "per_device_demonstration_batch_size": (CROSS_ENTROPY | {"num_prefix_generations": 0}, [2, 4]),
    "prefix_placement": ({}, ["prompt"]),
    "prefix_hint_template": ({"prefix_placement": "prompt"}, ["{prompt}{hint}"]),
    "prefix_hint_in_loss": ({"prefix_placement": "prompt"}, [False]),
    "prefix_stage_ratios": ({"num_prefix_generations": 0}, [[0.5]]),
    "prefix_stage_thresholds": (LADDER | {"prefix_success_reward": 0.3}, [[0.5, 0.5]]),
    "prefix_stage_generations": (LADDER | {"prefix_stage_replaces": "none"}, [[1, 1], [1, 2]]),
    "prefix_stage_replaces": (LADDER, ["rollout"]),
    "prefix_stage_groups": (LADDER, ["equal"]),
    "prefix_stage_prompts": (LADDER, ["other"]),
    "prefix_stage_max_rollouts": (LADDER, [4]),
    "prefix_ratio_schedule": ({}, ["constant"]),
    "prefix_ratio_distribution": ({"prefix_ratio_schedule": "constant", "prefix_ratio_low": 0.5}, ["binomial"]),
    "prefix_ratio_high": ({}, [0.5]),
    "prefix_ratio_low": ({"prefix_ratio_schedule": "constant"}, [0.5]),
    "prefix_ratio_decay_steps": ({}, [1]),
    "prefix_exclude_answer": ({"prefix_ratio_low": 1.0, "prefix_ratio_high": 1.0}, [True]),
    "prefix_advantage": ({}, ["on_policy"]),
    "prefix_selection": ({}, ["bottom_entropy"]),
    "prefix_top_entropy_quantile": ({}, [1.0]),
    "prefix_loss_type": ({"num_iterations": 2}, ["shaped"]),
    "prefix_loss_normalization": (CROSS_ENTROPY, ["prompts"]),
    "prefix_shaping_gamma": ({"prefix_loss_type": "shaped"}, [0.5]),
    "prefix_loss_coef": (CROSS_ENTROPY, [0.1]),
    "prefix_loss_coef_schedule": (CROSS_ENTROPY, ["linear"]),
    "prefix_loss_coef_end": (DECAYING, [0.2]),
    "prefix_loss_coef_decay_steps": (DECAYING, [2]),
    "prefix_loss_coef_warmup_steps": (CROSS_ENTROPY, [2]),
    "prefix_loss_convex": (CROSS_ENTROPY, [True]),
    "prefix_gate": (CROSS_ENTROPY | {"prefix_success_reward": 0.5}, [0.0]),
    "prefix_gate_drops_rollouts": (CROSS_ENTROPY | {"prefix_gate": 0.0, "prefix_advantage": "on_policy"}, [True]),
}


def test_every_setting_has_a_case():
    own = {field.name for field in fields(PrefixGRPOConfig) if field.name in PrefixGRPOConfig.__annotations__}
    assert own - OTHERS == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_setting_changes_the_weights(make_trainer, name):
    others, values = CASES[name]
    found = []
    for given in ({}, {name: values[0]}) if len(values) == 1 else ({name: value} for value in values):
        settings = {"max_steps": 3, "seed": 2, "optim": "sgd", "learning_rate": 0.5, **others, **given}
        trainer = make_trainer(**_with_rows(name), **settings)
        trainer.train()
        found.append(torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]))
    assert not torch.equal(*found)


def _with_rows(name):
    if name == "per_device_demonstration_batch_size":
        return {"others": {"demonstration_dataset": lab.load_dataset("train", 40).select(range(24, 40))}}
    if name == "prefix_exclude_answer":  # in the lab nothing follows the answer
        rows = lab.load_dataset("train", 16)
        return {"train_dataset": rows.map(lambda row: {"completion": row["completion"] + ";;;"})}
    return {}
