import json
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl.models.changes import ModelChanges, changed_config, changed_model


TEMPLATE = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"


@pytest.fixture
def template(tmp_path) -> str:
    path = tmp_path / "brackets.jinja"
    path.write_text(TEMPLATE)
    return str(path)


@pytest.fixture
def changes(tmp_path) -> ModelChanges:
    return ModelChanges(str(tmp_path / "models" / "changed"), eos_token="=")


@pytest.fixture
def source(base_model, tmp_path) -> Path:
    """A model that may be broken."""
    return Path(shutil.copytree(base_model, tmp_path / "source"))


def test_copy_has_the_same_weights_and_another_context_template_and_end_of_turn(base_model, template, changes):
    longer = {"max_position_embeddings": 4096, "rope_theta": 40000.0}
    folder = changed_model(base_model, replace(changes, config=longer, chat_template=template))
    config = AutoConfig.from_pretrained(folder)
    assert config.max_position_embeddings == 4096
    assert config.rope_parameters["rope_theta"] == 40000.0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.chat_template, tokenizer.eos_token) == (TEMPLATE, "=")
    assert config.eos_token_id == tokenizer.eos_token_id
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (base_model, folder))
    assert all(torch.equal(one, other) for one, other in zip(before.parameters(), after.parameters(), strict=True))
    theta_of_base = AutoConfig.from_pretrained(base_model).rope_parameters["rope_theta"]
    rotations = [model.model.rotary_emb.inv_freq for model in (before, after)]
    head = config.hidden_size // config.num_attention_heads
    powers = torch.arange(0, head, 2) / head
    for found, theta in zip(rotations, (theta_of_base, 40000.0), strict=True):
        torch.testing.assert_close(found, theta**-powers)


def test_copy_links_the_weights_and_records_its_source(base_model, changes):
    folder = Path(changed_model(base_model, changes))
    assert [path.is_symlink() for path in folder.glob("*.safetensors")] == [True]
    record = json.loads((folder / "model_changes.json").read_text())
    assert (record["model"], record["eos_token"]) == (str(Path(base_model).resolve()), "=")


def test_copy_is_made_once_and_refused_for_other_changes(base_model, changes):
    first = changed_model(base_model, changes)
    written = (Path(first) / "config.json").stat().st_mtime_ns
    for revision in (None, "main"):  # a server and a run share a copy though only one names the revision
        assert changed_model(base_model, changes, revision) == first
    assert (Path(first) / "config.json").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"holds another model .*differs in: eos_token.*name another `folder`"):
        changed_model(base_model, replace(changes, eos_token="+"))


def test_folder_of_something_else_is_never_replaced(base_model, tmp_path, changes):
    folder = tmp_path / "models" / "changed"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years")
    with pytest.raises(ValueError, match="holds another model"):
        changed_model(base_model, changes)
    assert (folder / "thesis.tex").read_text() == "years"


def test_model_trained_with_the_changes_and_adapter_are_used_as_they_are(base_model, template, changes, tmp_path):
    changes = replace(changes, config={"rope_theta": 40000.0}, chat_template=template)
    trained = tmp_path / "trained"
    for part in (AutoModelForCausalLM, AutoTokenizer):
        part.from_pretrained(changed_model(base_model, changes)).save_pretrained(trained)
    assert changed_model(str(trained), changes) == str(trained)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert changed_model(str(tmp_path), changes) == str(tmp_path)


def test_processes_that_start_at_once_get_one_complete_model(base_model, tmp_path, changes):
    found = []
    threads = [Thread(target=lambda: found.append(changed_model(base_model, changes))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == [str(tmp_path / "models" / "changed")] * 4
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["changed"]
    AutoModelForCausalLM.from_pretrained(found[0])


@pytest.mark.parametrize(
    ("break_model", "error"),
    [
        (lambda source: (source / "generation_config.json").write_text("{"), "Expecting property name"),
        (lambda source: (source / "model.safetensors").unlink(), "holds no weights"),
    ],
)
def test_failed_copy_leaves_nothing_behind(source, tmp_path, changes, break_model, error):
    break_model(source)
    with pytest.raises(ValueError, match=error):
        changed_model(str(source), changes)
    assert list((tmp_path / "models").iterdir()) == []


def test_rope_theta_is_changed_wherever_the_config_has_it():
    changes = ModelChanges("x", config={"rope_theta": 2.0})
    assert changed_config({"rope_theta": 1.0}, changes) == {"rope_theta": 2.0}
    inside = {"rope_parameters": {"rope_type": "default", "rope_theta": 1.0}}
    assert changed_config(inside, changes) == {"rope_parameters": {"rope_type": "default", "rope_theta": 2.0}}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"folder": "x", "chat_templat": "y"}, "no 'chat_templat'; it has: folder, config, chat_template, eos_token"),
        ({"eos_token": "="}, "needs a `folder`"),
        ({"folder": "x", "chat_template": "nowhere.jinja"}, "no chat template 'nowhere.jinja'"),
    ],
)
def test_wrong_setting_is_explained(setting, message):
    with pytest.raises(ValueError, match=message):
        ModelChanges.read(setting)


def test_token_or_value_that_the_model_lacks_is_refused(base_model, tmp_path, changes):
    with pytest.raises(ValueError, match="has no token '<end>' to end a turn with"):
        changed_model(base_model, replace(changes, eos_token="<end>"))
    with pytest.raises(ValueError, match=r"sets 'max_positions', which .*config\.json does not have"):
        changed_model(base_model, replace(changes, config={"max_positions": 1}))
    assert not list(tmp_path.glob("models/*"))


def test_moved_weights_are_reported(source, changes):
    changed_model(str(source), changes)
    (source / "model.safetensors").rename(source / "elsewhere")
    with pytest.raises(ValueError, match=r"weights that have been moved: model\.safetensors\. Remove the folder"):
        changed_model(str(source), changes)
