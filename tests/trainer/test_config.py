import ast
import inspect
import re
from dataclasses import fields

import pytest
import yaml
from trl import GRPOConfig, TrlParser

from prefix_rft_trl import PrefixGRPOConfig


INHERITED = {field.name: field for field in fields(GRPOConfig)}
OURS = {field.name: field for field in fields(PrefixGRPOConfig) if field.name in PrefixGRPOConfig.__annotations__}


@pytest.fixture
def make_config(tmp_path):
    def make(config_class: type[GRPOConfig] = PrefixGRPOConfig, **settings) -> GRPOConfig:
        return config_class(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **settings)

    return make


def test_defaults_are_those_of_the_papers(make_config):
    config = make_config()
    expected = {
        "num_generations": 8,
        "num_prefix_generations": 1,
        "prefix_ratio_schedule": "cosine",
        "prefix_ratio_high": 0.95,
        "prefix_ratio_low": 0.05,
        "prefix_ratio_decay_steps": None,
        "prefix_advantage": "group",
        "prefix_selection": "top_entropy",
        "prefix_top_entropy_quantile": None,
        "prefix_loss_type": "ppo",
        "prefix_shared_in_group": False,
        "prefix_prompts": "all",
        "prefix_success_reward": 1.0,
        "prefix_ratio_distribution": "uniform",
        "loss_type": "dr_grpo",
        "scale_rewards": "none",
        "beta": 0.0,
        "epsilon": 0.2,
        "temperature": 1.0,
        "learning_rate": 1e-6,
        "max_completion_length": 8192,
        "demonstration_column": "completion",
        "answer_column": "solution",
        "prefix_exclude_answer": False,
        "prefix_shaping_gamma": 0.1,  # of LUFFY
        "prefix_loss_coef": None,
    }
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.prefix_token_rule.quantile == 0.2
    assert config.prefix_token_rule.coefficient.peak == 1.0


def test_only_the_documented_defaults_depart_from_trls():
    departures = {
        field.name: (field.default, INHERITED[field.name].default)
        for field in fields(PrefixGRPOConfig)
        if field.name in INHERITED and field.default != INHERITED[field.name].default
    }
    assert departures == {
        "loss_type": ("dr_grpo", "dapo"),
        "scale_rewards": ("none", "group"),
        "max_completion_length": (8192, 512),
    }


def test_every_setting_is_documented_with_its_type_and_default():
    documented = re.findall(
        r"^ +(\w+) \(`(.+?)`, \*optional\*(?:, defaults to `(.+?)`)?\):$", PrefixGRPOConfig.__doc__, re.MULTILINE
    )
    found = {name: (type_name, ast.literal_eval(default or "None")) for name, type_name, default in documented}
    assert found == {
        name: (inspect.formatannotation(field.type).removesuffix(" | None"), field.default)
        for name, field in OURS.items()
    }


def test_every_setting_has_help_that_the_command_line_prints():
    printed = " ".join(TrlParser(PrefixGRPOConfig).format_help().split())
    for field in OURS.values():
        assert field.metadata["help"]
        assert field.metadata["help"] in printed


WHOLE, ADAPTIVE = {"prefix_ratio_schedule": "whole"}, {"prefix_ratio_schedule": "adaptive"}
BINOMIAL = {"prefix_ratio_distribution": "binomial"}
SEQUENCE = {"importance_sampling_level": "sequence"}
SHARED = {"prefix_shared_in_group": True, "num_prefix_generations": 2}
REFUSED = [
    ({"prefix_ratio_low": -0.1}, "`prefix_ratio_low` .* found -0.1"),
    ({"prefix_ratio_low": float("nan")}, "`prefix_ratio_low` .* found nan"),
    ({"prefix_ratio_high": 1.1}, "`prefix_ratio_high` .* found 1.1"),
    ({"prefix_top_entropy_quantile": 20}, "`prefix_top_entropy_quantile` .* found 20"),
    ({"prefix_top_entropy_quantile": -0.2}, "`prefix_top_entropy_quantile` .* found -0.2"),
    ({"prefix_ratio_low": 0.8, "prefix_ratio_high": 0.3}, r"`prefix_ratio_low` \(0.8\) .*`prefix_ratio_high` \(0.3\)"),
    ({"num_prefix_generations": 9}, r"`num_prefix_generations` \(9\) .*`num_generations` \(8\)"),
    ({"num_prefix_generations": -1}, r"`num_prefix_generations` \(-1\) .*`num_generations` \(8\)"),
    ({"max_completion_length": 1}, r"`max_completion_length` \(1\) .*`num_prefix_generations=0`"),
    ({"max_completion_length": None}, r"`max_completion_length` \(None\) .*`num_prefix_generations=0`"),
    ({"prefix_ratio_decay_steps": 0}, "`prefix_ratio_decay_steps` .* found 0.*'constant'"),
    ({"prefix_ratio_decay_steps": -5}, "`prefix_ratio_decay_steps` .* found -5"),
    ({"prefix_ratio_schedule": "cosin"}, "`prefix_ratio_schedule`: 'cosin'. Known: cosine, linear, constant"),
    ({"prefix_advantage": "grpo_prefix"}, "'grpo_prefix'. Known: group, on_policy, dr_grpo_prefix, dr_grpo_prefix_v2"),
    (
        {"prefix_selection": "all"},
        "`prefix_selection`: 'all'. Known: top_entropy, .*per_rollout, bottom.*random, none",
    ),
    ({"prefix_loss_type": "sft"}, "`prefix_loss_type`: 'sft'. Known: ppo, ppo_unclipped, shaped, cross_entropy"),
    ({"prefix_ratio_distribution": "beta"}, "`prefix_ratio_distribution`: 'beta'. Known: uniform, binomial"),
    ({"prefix_prompts": "hard"}, "`prefix_prompts`: 'hard'. Known: all, failed"),
    ({"prefix_loss_coef": 0}, "`prefix_loss_coef` .* found 0.*`prefix_selection='none'`"),
    ({"prefix_loss_coef": -0.1}, "`prefix_loss_coef` .* found -0.1"),
    ({"prefix_loss_coef": float("nan")}, "`prefix_loss_coef` .* found nan"),
    ({"prefix_shaping_gamma": 0.0}, "`prefix_shaping_gamma` .* found 0.0"),
    ({"prefix_shaping_gamma": float("nan")}, "`prefix_shaping_gamma` .* found nan"),
    ({"prefix_success_reward": float("nan")}, "`prefix_success_reward` .* found nan"),
    ({**WHOLE, **BINOMIAL}, "='binomial'` .*`prefix_ratio_schedule='whole'` .*'cosine', 'linear' or 'constant'"),
    ({**ADAPTIVE, **BINOMIAL}, "`prefix_ratio_distribution='binomial'` .*`prefix_ratio_schedule='adaptive'`"),
    ({**WHOLE, "prefix_exclude_answer": True}, "='whole'` .*answer included.*`prefix_exclude_answer`.*'cosine'"),
    ({"prefix_loss_type": "shaped", "loss_type": "cispo"}, "`prefix_loss_type='shaped'` .*'cispo'"),
    (SEQUENCE, "`importance_sampling_level='sequence'`.*='ppo'`.*='cross_entropy'`.*`prefix_selection='none'`"),
    ({"prefix_loss_type": "shaped", **SEQUENCE}, "`importance_sampling_level='sequence'`.*='shaped'` .*='tokens'`"),
    (
        {"prefix_loss_type": "cross_entropy", "prefix_loss_normalization": "loss", **SEQUENCE},
        "`importance_sampling_level='sequence'`.*='cross_entropy'` prefix tokens would be in the same loss",
    ),
    ({"prefix_loss_type": "ppo_unclipped", "loss_type": "cispo"}, "`prefix_loss_type='ppo_unclipped'` .*'cispo'"),
    ({"prefix_loss_type": "ppo_unclipped", "loss_type": "vespo"}, "`prefix_loss_type='ppo_unclipped'` .*'vespo'"),
    ({"prefix_loss_type": "ppo_unclipped", **SEQUENCE}, "`importance_sampling_level='sequence'`.*='ppo_unclipped'`"),
    (
        {"prefix_advantage": "on_policy", "scale_rewards": "group"},
        "`prefix_advantage='on_policy'` .*`scale_rewards='none'`.* found 'group'",
    ),
    ({"prefix_advantage": "dr_grpo_prefix", "scale_rewards": True}, "`scale_rewards='none'`.* found True"),
    (
        {"prefix_advantage": "dr_grpo_prefix_v2", "multi_objective_aggregation": "normalize_then_sum"},
        "`multi_objective_aggregation='sum_then_normalize'`, found .*'normalize_then_sum'",
    ),
    ({"generation_kwargs": {"max_new_tokens": 8}}, "`max_new_tokens` .8.*`max_completion_length`"),
    ({"prefix_top_entropy_quantile": 0}, "`prefix_selection='none'`"),
    ({"prefix_advantage": "dr_grpo_prefix_v2", "num_prefix_generations": 8}, "`num_prefix_generations` .8."),
    ({**SHARED, "prefix_advantage": "dr_grpo_prefix"}, "'dr_grpo_prefix'` .*`prefix_shared_in_group=False`.*.2. to 1"),
    (
        {"prefix_stage_ratios": [0, 0.5], "prefix_advantage": "dr_grpo_prefix"},
        r"'dr_grpo_prefix'` .*`prefix_stage_ratios` .\[0, 0.5\].",
    ),
    (
        {
            "prefix_stage_ratios": [0.2, 0.5],
            "prefix_stage_replaces": "none",
            "prefix_stage_generations": [1, 2],
            "prefix_advantage": "dr_grpo_prefix_v2",
        },
        "'dr_grpo_prefix_v2'` .*`prefix_stage_ratios`",
    ),
    ({**SHARED, "prefix_advantage": "dr_grpo_prefix_v2"}, "='dr_grpo_prefix_v2'` .*'group' or 'on_policy'"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_impossible_setting_is_refused_by_name(make_config, settings, message):
    with pytest.raises(ValueError, match=message):
        make_config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_prefix_generations": 8},
        {"prefix_ratio_low": 0.0, "prefix_ratio_high": 1.0, "prefix_top_entropy_quantile": 1.0},
        {"prefix_ratio_low": 0.5, "prefix_ratio_high": 0.5, "prefix_ratio_decay_steps": 1},
        {"max_completion_length": 2},
        {"scale_rewards": "group", "loss_type": "cispo"},
        {**SEQUENCE, "prefix_selection": "none", "loss_type": "cispo"},
        {**SEQUENCE, "prefix_loss_type": "shaped", "prefix_loss_normalization": "prompts"},
        {**SEQUENCE, "num_prefix_generations": 0},
        {**SHARED, "prefix_advantage": "on_policy"},
        {
            "prefix_stage_ratios": [0.5],
            "prefix_stage_replaces": "none",
            "prefix_stage_generations": [1],
            "prefix_advantage": "dr_grpo_prefix",
        },
        {"prefix_stage_ratios": [0, 0], "prefix_advantage": "dr_grpo_prefix"},
        {**SHARED, "num_prefix_generations": 1, "prefix_advantage": "dr_grpo_prefix"},
        {"prefix_advantage": "on_policy", "scale_rewards": False, "prefix_loss_type": "ppo_unclipped"},
        {"prefix_loss_type": "cross_entropy", "loss_type": "cispo"},
        {"prefix_loss_type": "cross_entropy", "importance_sampling_level": "sequence", "prefix_loss_coef": 2},
        {"prefix_ratio_schedule": "whole", "num_prefix_generations": 7},
        {"prefix_ratio_distribution": "binomial", "prefix_ratio_low": 0.0, "prefix_ratio_high": 1.0},
        {"prefix_ratio_schedule": "adaptive", "prefix_prompts": "failed", "prefix_success_reward": -1.0},
        {"prefix_ratio_schedule": "adaptive", "prefix_exclude_answer": True},
        {"prefix_ratio_distribution": "binomial", "prefix_exclude_answer": True},
        {"prefix_ratio_schedule": "whole", "prefix_exclude_answer": True, "num_prefix_generations": 0},
    ],
)
def test_extreme_setting_is_accepted(make_config, settings):
    make_config(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_completion_length": 1},
        {"max_completion_length": None},
        {"loss_type": "cispo", "prefix_loss_type": "ppo_unclipped"},
        {"scale_rewards": "group", "prefix_advantage": "on_policy"},
        {"loss_type": "cispo", "prefix_loss_type": "shaped"},
    ],
)
def test_plain_grpo_accepts_what_trl_accepts(make_config, settings):
    make_config(GRPOConfig, **{name: value for name, value in settings.items() if name in INHERITED})
    make_config(num_prefix_generations=0, **settings)


@pytest.mark.parametrize(
    ("settings", "follows"),
    [({}, False), ({"prefix_ratio_schedule": "adaptive"}, True), ({"prefix_prompts": "failed"}, True)],
)
def test_success_history_is_kept_only_where_a_setting_needs_it(make_config, settings, follows):
    assert make_config(**settings).needs_success_history is follows


def test_command_line_overrides_yaml(tmp_path):
    in_yaml = {"num_prefix_generations": 2, "prefix_advantage": "on_policy", "max_completion_length": 64}
    on_cpu = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**in_yaml, **on_cpu, "prefix_ratio_low": 0.1}))
    flags = ["--config", str(tmp_path / "config.yaml"), "--prefix_ratio_low", "0.2", "--prefix_selection"]
    (config,) = TrlParser(PrefixGRPOConfig).parse_args_and_config([*flags, "top_entropy_per_rollout"])
    expected = {**in_yaml, "prefix_ratio_low": 0.2, "prefix_selection": "top_entropy_per_rollout"}
    assert {name: getattr(config, name) for name in expected} == expected


def test_the_old_name_of_the_constant_schedule_is_accepted_with_a_warning(make_config):
    with pytest.warns(FutureWarning, match="'uniform'.* 'constant'"):
        assert make_config(prefix_ratio_schedule="uniform").prefix_ratio_schedule == "constant"
