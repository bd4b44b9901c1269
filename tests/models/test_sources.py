import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from prefix_rft_trl.models.sources import ModelSource, explain_missing_model, find_models


def test_adapter_is_found_with_its_base_unless_another_one_is_given(tmp_path, base_model):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base_model}))
    (found,) = find_models([str(tmp_path / "adapter")])
    assert (found.name, found.base, found.tokenizer_path) == ("adapter", base_model, base_model)
    other_base = shutil.copytree(base_model, tmp_path / "other")
    (other_base / "generation_config.json").write_text("{}")
    (other,) = find_models([f"tuned={tmp_path / 'adapter'}"], str(other_base))
    assert (other.name, other.base) == ("tuned", str(other_base))
    assert other.fingerprint != found.fingerprint


def test_fingerprint_follows_the_weights_and_not_the_place(tmp_path, base_model):
    shutil.copytree(base_model, tmp_path / "copy")
    assert ModelSource("other name", str(tmp_path / "copy")).fingerprint == ModelSource("base", base_model).fingerprint
    model = AutoModelForCausalLM.from_pretrained(base_model)
    model.save_pretrained(tmp_path / "before")
    with torch.no_grad():
        model.lm_head.weight[3, 5] += 1e-3
    model.save_pretrained(tmp_path / "after")
    before, after = (ModelSource("base", str(tmp_path / name)).fingerprint for name in ("before", "after"))
    assert before != after


def test_failed_download_names_the_model(tmp_path):
    refused = pytest.raises(ValueError, match=r"no folder 'no/such' here, and the Hub did not .*: two lines")
    with refused, explain_missing_model("no/such"):
        raise OSError("two\nlines")
    for model in (str(tmp_path), None):  # not a download: the error stays as it is
        with pytest.raises(OSError, match="disk"), explain_missing_model(model):
            raise OSError("disk")


def test_hub_name_may_look_like_a_path_unless_its_parent_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(ValueError, match="the folder 'runs' holds none of that name"):
        find_models(["runs/typo"])
