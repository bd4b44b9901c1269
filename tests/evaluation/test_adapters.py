"""vLLM is given an adapter merged into its base: any kind of adapter, and without a file next to it."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.models.sources import ModelSource


BASE = lab.base_model_path()


@pytest.fixture(params=[{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=["lora", "dora", "saved"])
def adapter(request, tmp_path) -> ModelSource:
    config = LoraConfig(r=12, target_modules=["q_proj"], init_lora_weights=False, **request.param)
    torch.manual_seed(0)
    get_peft_model(AutoModelForCausalLM.from_pretrained(BASE), config).save_pretrained(tmp_path / "adapter")
    return ModelSource("adapter", str(tmp_path / "adapter"), BASE)


def test_vllm_loads_what_peft_computes(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr("prefix_rft_trl.evaluation.engines._has_vllm", lambda: True)
    files = sorted(Path(adapter.path).iterdir())
    ids = torch.arange(4, 12)[None]
    with Engine("vllm").merged(adapter, tmp_path / "merged") as source, torch.no_grad():
        assert (source.base, source.name) == (None, "adapter")
        assert len(AutoTokenizer.from_pretrained(source.tokenizer_path)) > 0
        merged = AutoModelForCausalLM.from_pretrained(source.path)(ids).logits
        base = AutoModelForCausalLM.from_pretrained(BASE)
        assert not torch.allclose(merged, base(ids).logits, atol=1e-3)
        expected = PeftModel.from_pretrained(base, adapter.path)(ids).logits
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)
    assert sorted(Path(adapter.path).iterdir()) == files
    assert not (tmp_path / "merged").exists()


def test_transformers_merges_in_memory(adapter, tmp_path):
    with Engine("transformers").merged(adapter, tmp_path / "merged") as source:
        assert source is adapter
        assert not (tmp_path / "merged").exists()


def test_an_adapter_that_cannot_be_loaded_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("prefix_rft_trl.evaluation.engines._has_vllm", lambda: True)
    broken = ModelSource("broken", str(tmp_path), BASE)
    with pytest.raises(ValueError, match=f"{tmp_path} could not be loaded"), Engine("vllm").merged(broken, tmp_path):
        pass
