"""Each recipe for a large model trains two steps, with a tiny model of the same kind in its place."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


MODELS = ["qwen2.5-math-7b", "qwen2.5-math-1.5b", "llama-3.1-8b", "qwen3-1.7b", "qwen2.5-math-1.5b-one-gpu"]
METHODS = ["prefix_rft", "rft", "sft", "sft_then_rft", "luffy", "uft"]
OF_OTHER_PAPERS = ["chord_mu", "chord_phi", "dft", "exgrpo", "ghpo", "hpt", "relift", "rl_with_sft_loss", "scaf_grpo"]
OF_OTHER_PAPERS += ["trapo"]
TRAININGS = [(model, method) for model in MODELS for method in METHODS]
TRAININGS += [("qwen2.5-math-7b", method) for method in OF_OTHER_PAPERS]
# Whether rollouts start from a demonstration; with others it depends on what is solved
HYBRID = {"prefix_rft": True, "luffy": True, "uft": True, "hpt": True, "relift": True, "rl_with_sft_loss": True}
HYBRID |= {"rft": False, "sft": False, "sft_then_rft": False, "dft": False}
SMALL = ["--max_steps", "2", "--gradient_accumulation_steps", "1"]
SMALL += ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--save_strategy", "no"]
SMALL += ["--measure_max_new_tokens", "8", "--reward_kwargs", '{"math_accuracy_reward": {"num_workers": 1}}']
ROLLOUTS = ["--use_vllm", "false", "--max_completion_length", "64"]


def test_every_model_has_every_method():
    for model in MODELS:
        own = OF_OTHER_PAPERS if model == "qwen2.5-math-7b" else []
        assert {path.stem for path in (FOLDER / model).glob("*.yaml")} == {*METHODS, *own}, model


@pytest.mark.parametrize(("model", "method"), TRAININGS)
def test_a_recipe_trains(model, method, stand_ins, problems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = read_with_bases(FOLDER / model / f"{method}.yaml")[0]
    line = ["--model_name_or_path", str(stand_ins[recipe["model_name_or_path"]]), "--dataset_name", problems]
    line += [*SMALL, *([] if recipe.get("trainer") == "sft" else ROLLOUTS)]
    line += ["--per_device_train_batch_size", str(recipe.get("num_generations", 8))]
    if "demonstration_dataset_name" in recipe:
        line += ["--demonstration_dataset_name", problems]
    assert main(["train", "--config", f"recipes/{model}/{method}.yaml", *line]) == 0

    output = Path(recipe["output_dir"])
    log = json.loads((output / "trainer_state.json").read_text())
    assert log["global_step"] == 2
    curve = [json.loads(line) for line in (output / "curve.jsonl").read_text().splitlines()]
    assert [(line["step"], "accuracy" in line) for line in curve] == [(0, True), (2, True)]
    has_hybrids = any("prefix/length" in row for row in log["log_history"])
    assert has_hybrids == HYBRID.get(method, has_hybrids)
    assert AutoTokenizer.from_pretrained(output).eos_token == recipe["model_changes"]["eos_token"]
    changed = AutoConfig.from_pretrained(recipe["model_changes"]["folder"])
    for name, value in recipe["model_changes"].get("config", {}).items():
        found = changed.rope_parameters if name == "rope_theta" else changed.to_dict()
        assert found[name] == value
    if model == "qwen2.5-math-1.5b-one-gpu":
        assert (output / "adapter_config.json").is_file()
    else:
        assert AutoConfig.from_pretrained(output).max_position_embeddings == changed.max_position_embeddings


def test_both_the_end_of_a_turn_and_of_a_text_end_a_completion(stand_ins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["--model_name_or_path", str(stand_ins["Qwen/Qwen2.5-Math-7B"])]
    assert main(["recipes", "model", "qwen2.5-math-7b/prefix_rft", *line]) == 0
    tokenizer = AutoTokenizer.from_pretrained("models/qwen2.5-math-7b-16k")
    ends = GenerationConfig.from_pretrained("models/qwen2.5-math-7b-16k").eos_token_id
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|im_end|>", "<|endoftext|>"]
    question = [{"role": "user", "content": "1+1?"}]
    prompt = "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True) == prompt
    answered = [*question, {"role": "assistant", "content": "<think>\nOne.\n</think>\n2"}]
    text = tokenizer.apply_chat_template(answered, tokenize=False)
    assert text == f"{prompt}<think>\nOne.\n</think>\n2<|im_end|>\n"
