import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.lab.experiment import sample_answers
from prefix_rft_trl.lab.pretrain import main


@pytest.fixture(scope="module")
def made_again(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("base")
    main(["--output_dir", str(folder), "--seed", "0"])
    return str(folder)


def quality(folder: str) -> dict[str, float]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = lab.load_dataset("test")
    prompts, solutions = list(rows["prompt"]), list(rows["solution"])
    starts = [demonstration[:6] for demonstration in rows["completion"]]
    bare = sample_answers(model, tokenizer, prompts)
    shown = sample_answers(model, tokenizer, [prompt + start for prompt, start in zip(prompts, starts, strict=True)])
    worked = [start + answer for start, answer in zip(starts, shown, strict=True)]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        first = model(**inputs).logits[:, -1].softmax(-1)
    return {
        "accuracy": sum(lab.exact_answer_reward(bare, solutions)) / len(prompts),
        "accuracy after one step is shown": sum(lab.exact_answer_reward(worked, solutions)) / len(prompts),
        "does not answer at once": 1 - first[:, tokenizer.convert_tokens_to_ids("#")].mean().item(),
    }


def check(found: dict[str, float]) -> None:
    assert 0.15 <= found["accuracy"] <= 0.28, found
    assert found["accuracy after one step is shown"] >= 0.65, found
    assert 0.0003 <= found["does not answer at once"] <= 0.003, found


def test_the_base_model_of_the_package_can_do_what_it_does_not_do(base_model):
    check(quality(base_model))


def test_the_command_makes_a_base_model_of_the_same_quality(made_again):
    check(quality(made_again))
