import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl.models.adapters import merge_adapter, remove_adapter


def train_adapter(folder: Path, base: str, **kind) -> torch.Tensor:
    """Writes an adapter without a tokenizer; returns the logits of the model with it."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False, **kind)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    model.save_pretrained(folder)
    return logits(model.eval())


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model) -> tuple[Path, torch.Tensor]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_adapter(folder, base_model)


@pytest.fixture
def adapter(trained, tmp_path) -> str:
    return str(shutil.copytree(trained[0], tmp_path / "adapter"))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(2, 10)[None]).logits


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_merged_model_computes_what_base_and_adapter_do(tmp_path, base_model, kind):
    expected = train_adapter(tmp_path, base_model, **kind)
    merged = merge_adapter(str(tmp_path))
    assert merged == f"{tmp_path}/merged"
    assert not torch.allclose(expected, logits(AutoModelForCausalLM.from_pretrained(base_model)), atol=1e-3)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(merged)), expected)
    assert AutoTokenizer.from_pretrained(merged).get_vocab() == AutoTokenizer.from_pretrained(base_model).get_vocab()


def test_merge_on_a_given_base_into_a_given_folder(trained, adapter, base_model, tmp_path):
    config = Path(adapter) / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/gone"}))
    merged = merge_adapter(adapter, base_model, tmp_path / "made")
    assert merged == str(tmp_path / "made")
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(merged)), trained[1])
    assert not (Path(adapter) / "merged").exists()


def test_adapter_on_the_hub_is_downloaded(adapter, base_model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name: {"someone/adapter": adapter}[name])
    assert merge_adapter("someone/adapter", base_model) == f"{adapter}/merged"


def test_merge_is_made_once_and_refused_for_other_weights(adapter, base_model, tmp_path):
    merged = Path(merge_adapter(adapter))
    written = (merged / "model.safetensors").stat().st_mtime_ns
    assert merge_adapter(adapter, base_model) == str(merged)
    assert (merged / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"merged' was merged from another adapter or base.*Remove it"):
        merge_adapter(adapter, str(shutil.copytree(base_model, tmp_path / "other")))
    with (Path(adapter) / "adapter_model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ValueError, match="was merged from another adapter"):
        merge_adapter(adapter)
    (merged / "merged_from.json").unlink()  # as 0.6.0 left it
    assert merge_adapter(adapter) == str(merged)
    with pytest.raises(ValueError, match="was merged from another adapter or base"):
        merge_adapter(adapter, str(tmp_path / "other"))


def test_processes_that_merge_at_once_get_one_complete_model(trained, adapter):
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        found = list(pool.map(merge_adapter, [adapter] * 3))
    assert found == [f"{adapter}/merged"] * 3
    assert not list(Path(adapter).glob(".merged*"))
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(found[0])), trained[1])


def test_model_that_is_no_adapter_is_returned_as_it_is(base_model):
    assert merge_adapter(base_model) == base_model


def test_removed_adapter_leaves_no_merged_model_to_a_new_training(adapter):
    merge_adapter(adapter)
    remove_adapter(Path(adapter))
    assert not {path.name for path in Path(adapter).iterdir()} & {"merged", "adapter_config.json"}
