"""An adapter that vLLM would run otherwise than it was trained is refused before the model is loaded."""

import json

import pytest
from peft import LoraConfig

from prefix_rft_trl import lab
from prefix_rft_trl.cli import eval as evaluation
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.evaluation.samplers import rank_of_adapter
from prefix_rft_trl.utils.errors import UserError


def adapter(folder, **settings) -> str:
    LoraConfig(**{"target_modules": ["q_proj"], **settings}).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(("rank", "reserved"), [(1, 1), (2, 8), (16, 16), (24, 32), (300, 320), (512, 512)])
def test_memory_is_reserved_for_the_next_rank_that_vllm_knows(tmp_path, rank, reserved):
    assert rank_of_adapter(adapter(tmp_path, r=rank)) == reserved


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "`use_dora`"),
        ({"modules_to_save": ["lm_head"]}, "`modules_to_save`"),
        ({"alpha_pattern": {"q_proj": 64}}, "`alpha_pattern`"),
        ({"rank_pattern": {"q_proj": 64}}, "`rank_pattern`"),
        ({"trainable_token_indices": [1]}, "`trainable_token_indices`"),
        ({"bias": "all"}, "`bias`"),
        ({"r": 513}, "`r` 513"),
    ],
)
def test_what_vllm_leaves_out_is_named(tmp_path, settings, named):
    with pytest.raises(ValueError, match=f"as it was trained: {named} in its adapter_config.json"):
        rank_of_adapter(adapter(tmp_path, **settings))


def test_another_kind_of_adapter_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(ValueError, match="`peft_type` IA3"):
        rank_of_adapter(str(tmp_path))


def test_the_command_says_so_before_it_loads_or_samples_anything(tmp_path, monkeypatch):
    monkeypatch.setattr("prefix_rft_trl.evaluation.engines._has_vllm", lambda: True)
    monkeypatch.setattr(Engine, "load", lambda engine, source: pytest.fail("a model was loaded"))
    folder = adapter(tmp_path / "dora", use_dora=True, base_model_name_or_path=lab.base_model_path())
    models = ["--model", "lab", folder, "--backend", "vllm", "--output_dir", str(tmp_path / "eval")]
    with pytest.raises(UserError, match=r"use_dora.*--backend transformers"):
        evaluation.run([*models, "--benchmarks", "lab"])
