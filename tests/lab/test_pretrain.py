import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.evaluation.samplers import TransformersSampler
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.lab.pretrain import main
from prefix_rft_trl.lab.task import LEVELS
from prefix_rft_trl.sampling.generate import encode_prompts


ACCURACY, SHOWN, STEP_BY_STEP = "accuracy", "accuracy after a first step is given", "probability of a first step"
# Bounds of a level's base model. The hard one calculates badly: a given first step helps it far less.
QUALITY = {
    "easy": {ACCURACY: (0.15, 0.28), SHOWN: (0.65, 1.0), STEP_BY_STEP: (0.0003, 0.003)},
    "hard": {ACCURACY: (0.12, 0.28), SHOWN: (0.2, 0.55), STEP_BY_STEP: (0.0003, 0.005)},
    "hard_third": {ACCURACY: (0.28, 0.42), SHOWN: (0.85, 1.0), STEP_BY_STEP: (0.12, 0.28)},
    "hard_half": {ACCURACY: (0.46, 0.62), SHOWN: (0.85, 1.0), STEP_BY_STEP: (0.35, 0.55)},
}
# The pre-training of the hard level is cut where the skill rises steeply, so how much a given first step helps depends
# on the seed, and on the rounding of the processor: 0.09 to 0.27 in five models (docs/lab.md). That it helps far less
# than on the easy level holds for all.
QUALITY_AGAIN = {**QUALITY, "hard": {**QUALITY["hard"], SHOWN: (0.0, 0.5)}}


def quality(folder: str, level: str) -> dict[str, float]:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = lab.load_dataset("test", level=level)
    prompts, solutions = list(rows["prompt"]), list(rows["solution"])
    starts = [demonstration[:6] for demonstration in rows["completion"]]
    given = [prompt + start for prompt, start in zip(prompts, starts, strict=True)]
    sampler, sampling = TransformersSampler(model, tokenizer), Sampling(max_new_tokens=56)
    sampled = (sampler(encode_prompts(tokenizer, texts), sampling, seeds=[0]) for texts in (prompts, given))
    bare, shown = (tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in sampled)
    worked = [start + answer for start, answer in zip(starts, shown, strict=True)]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.no_grad():
        first = model(**inputs).logits[:, -1].softmax(-1)
    return {
        ACCURACY: sum(lab.exact_answer_reward(bare, solutions)) / len(prompts),
        SHOWN: sum(lab.exact_answer_reward(worked, solutions)) / len(prompts),
        STEP_BY_STEP: 1 - first[:, tokenizer.convert_tokens_to_ids("#")].mean().item(),
    }


def check(found: dict[str, float], bounds: dict[str, tuple[float, float]]) -> None:
    for name, (low, high) in bounds.items():
        assert low <= found[name] <= high, found


def test_the_base_models_can_work_step_by_step_as_often_as_their_level_says():
    found = {level: quality(lab.base_model_path(level), level) for level in LEVELS}
    for level in LEVELS:
        check(found[level], QUALITY[level])
    assert found["hard"][SHOWN] < found["easy"][SHOWN] - 0.15


@pytest.mark.parametrize("level", ["easy", "hard"])  # two minutes each
def test_pretraining_again_gives_a_base_model_of_the_same_quality(level, tmp_path):
    main(["--output_dir", str(tmp_path), "--seed", "0", "--level", level])
    check(quality(str(tmp_path), level), QUALITY_AGAIN[level])


def test_an_unknown_level_is_refused_before_anything_is_trained(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--output_dir", str(tmp_path / "model"), "--level", "harder"])
    assert "harder" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
