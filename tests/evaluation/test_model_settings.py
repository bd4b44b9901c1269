"""An evaluation prompts a model as the run that trained it did, and applies adapters to their base."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.models.sources import ModelSource
from prefix_rft_trl.run.settings import RunSettings, settings_of_run


def evaluate(output_dir: Path, *arguments: object) -> int:
    return main(["eval", "--backend", "transformers", "--output_dir", str(output_dir), *map(str, arguments)])


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, base_model) -> Path:
    """A folder with an adapter of the lab's base model, without a tokenizer, and with the two in one."""
    folder = tmp_path_factory.mktemp("adapted")
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base_model), config)
    model.save_pretrained(folder / "adapter")
    model.merge_and_unload().save_pretrained(folder / "merged")
    AutoTokenizer.from_pretrained(base_model).save_pretrained(folder / "merged")
    return folder


def test_an_adapter_answers_as_the_model_that_it_makes_of_its_base(tmp_path, adapted, samples_in):
    models = ["lab", adapted / "adapter", f"both={adapted / 'merged'}"]
    assert evaluate(tmp_path, "--model", *models, "--benchmarks", "lab", "--num_problems", 5, "--num_samples", 8) == 0
    of_adapter, of_merged, of_base = (samples_in(tmp_path / name / "lab") for name in ("adapter", "both", "base"))
    assert len(of_adapter) == 40
    assert of_adapter == of_merged
    assert of_adapter != of_base
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == ["base", "adapter", "both"]
    assert results["adapter"] == results["both"]


def test_vllm_is_given_a_merged_adapter_for_as_long_as_it_runs(tmp_path, adapted, base_model, monkeypatch):
    monkeypatch.setattr("prefix_rft_trl.evaluation.engines._has_vllm", lambda: True)
    adapter, files = ModelSource("it", str(adapted / "adapter"), base_model), set((adapted / "adapter").iterdir())
    with Engine("vllm").merged(adapter, tmp_path / "made") as source:
        assert (source.base, source.name) == (None, "it")
        weights = [load_file(Path(folder) / "model.safetensors") for folder in (source.path, adapted / "merged")]
        torch.testing.assert_close(*weights)
        assert len(AutoTokenizer.from_pretrained(source.tokenizer_path)) > 0
    assert not (tmp_path / "made").exists()
    with Engine("transformers").merged(adapter, tmp_path / "made") as source:
        assert source is adapter
        assert not (tmp_path / "made").exists()
    assert set((adapted / "adapter").iterdir()) == files
    broken = ModelSource("broken", str(tmp_path), base_model)
    with pytest.raises(ValueError, match=f"{tmp_path} could not be loaded"), Engine("vllm").merged(broken, tmp_path):
        pass


SETTINGS = RunSettings(
    instruction="Work it out:",
    conversational=False,
    chat_template_kwargs={"enable_thinking": False},
    reward="math_accuracy_reward",
    reward_kwargs={"answer_markers": ["result:"]},
    max_new_tokens=40,
)


@pytest.fixture
def run_folder(tmp_path, text_model) -> Path:
    """Of a run: its model, a checkpoint, and how it asks."""
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoint-3"):
        shutil.copytree(text_model, folder)
    SETTINGS.write(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("part", [".", "checkpoint-3"])
def test_a_model_is_asked_as_in_its_run(tmp_path, run_folder, answer_by, write_jsonl, samples_in, part):
    assert settings_of_run(str(run_folder / part)) == SETTINGS
    file = write_jsonl({"problem": "1 + 1", "answer": "2"}, {"problem": "2 + 2", "answer": "5"})
    sampler = answer_by(lambda prompt, sample: (f"result: {eval(prompt.splitlines()[0])}", True))
    assert evaluate(tmp_path / "eval", "--model", f"it={run_folder / part}", "--benchmarks", file) == 0
    assert sampler.asked == {"1 + 1\nWork it out:": 1, "2 + 2\nWork it out:": 1}
    found = samples_in(tmp_path / "eval" / "it" / "mine")
    assert [(row["answer"], row["reward"]) for row in found] == [("2", 1.0), ("4", 0.0)]
    written = json.loads((tmp_path / "eval" / "it" / "mine" / "settings.json").read_text())
    assert (written["max_new_tokens"], written["chat_template_kwargs"]) == (40, {"enable_thinking": False})
    assert (written["reward"], written["reward_kwargs"]) == ("math_accuracy_reward", SETTINGS.reward_kwargs)


def test_a_flag_comes_before_the_run(tmp_path, run_folder, answer_by, write_jsonl, samples_in):
    file = write_jsonl({"problem": "1 + 1", "answer": "2"})
    sampler = answer_by(lambda prompt, sample: ("result: 2, total: 3", True))
    flags = ["--instruction", "", "--max_new_tokens", 50, "--reward_kwargs", '{"answer_markers": ["total:"]}']
    assert evaluate(tmp_path / "eval", "--model", run_folder, "--benchmarks", file, *flags) == 0
    assert set(sampler.asked) == {"1 + 1"}
    (found,) = samples_in(tmp_path / "eval" / "run" / "mine")
    assert (found["answer"], found["reward"]) == ("3", 0.0)
    written = json.loads((tmp_path / "eval" / "run" / "mine" / "settings.json").read_text())
    assert written["max_new_tokens"] == 50


def test_the_messages_of_a_chat_model_go_through_its_template(tmp_path, text_model, answer_by, write_jsonl):
    model = Path(shutil.copytree(text_model, tmp_path / "chat"))
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = (
        "{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}"
        "{% if add_generation_prompt %}[{{ style or 'plain' }}]{% endif %}"
    )
    tokenizer.save_pretrained(model)
    sampler = answer_by(lambda prompt, sample: ("\\boxed{2}", True))
    sampler.tokenizer.chat_template = tokenizer.chat_template
    line = ["--benchmarks", write_jsonl({"problem": "1 + 1", "answer": "2"}), "--instruction", "Think."]
    assert evaluate(tmp_path / "a", "--model", model, *line) == 0
    assert evaluate(tmp_path / "b", "--model", model, *line, "--chat_template_kwargs", '{"style": "short"}') == 0
    assert evaluate(tmp_path / "c", "--model", model, *line, "--no-conversational") == 0
    assert list(sampler.asked) == ["[user] 1 + 1\nThink.[plain]", "[user] 1 + 1\nThink.[short]", "1 + 1\nThink."]
