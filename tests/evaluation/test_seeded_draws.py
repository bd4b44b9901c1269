"""Answers with random numbers of their own: the same in any batch, with the frequencies of the model."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.evaluation.samplers import SeededDraws, TransformersSampler
from prefix_rft_trl.evaluation.sampling import Sampling


@pytest.fixture(scope="module")
def sampler(base_model) -> TransformersSampler:
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    return TransformersSampler(model, AutoTokenizer.from_pretrained(base_model))


@pytest.fixture(scope="module")
def prompts(sampler, base_model) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    begun = [
        row["prompt"] + row["completion"][: 3 * (place % 3)] for place, row in enumerate(lab.load_dataset("train", 12))
    ]
    return tokenizer(begun)["input_ids"]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.0}], ids=str)
def test_an_answer_does_not_depend_on_its_batch(sampler, prompts, settings):
    sampling, seeds = Sampling(max_new_tokens=24, **settings), list(range(len(prompts)))
    together = sampler.with_likelihoods(prompts, sampling, seeds)
    for part in (slice(0, 1), slice(3, 8), slice(11, 12)):
        alone = sampler.with_likelihoods(prompts[part], sampling, seeds[part])
        assert [ids for ids, _ in alone] == [ids for ids, _ in together[part]]
        assert [value for _, value in alone] == pytest.approx([value for _, value in together[part]], abs=1e-5)
    other = sampler.with_likelihoods(prompts, sampling, [seed + 100 for seed in seeds])
    assert ([ids for ids, _ in other] == [ids for ids, _ in together]) is (sampling.temperature == 0)


def test_likelihoods_are_those_of_a_pass_at_temperature_1(sampler, prompts):
    sampling = Sampling(max_new_tokens=24, temperature=1.5, top_p=0.95)
    for prompt, (ids, value) in zip(
        prompts, sampler.with_likelihoods(prompts, sampling, [7] * len(prompts)), strict=True
    ):
        with torch.no_grad():
            logits = sampler.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(dim=-1).gather(-1, torch.tensor(ids).unsqueeze(-1)).mean()
        assert value == pytest.approx(expected.item(), abs=1e-5)


def test_tokens_are_drawn_with_the_shares_of_temperature_and_top_p():
    scores, number = torch.tensor([2.0, 0.0, 1.0, -1.0]), 4000
    draws = SeededDraws(Sampling(max_new_tokens=1, temperature=0.8, top_p=0.8), list(range(number)))
    drawn = draws(torch.zeros(number, 1), scores.repeat(number, 1)).argmax(dim=-1)
    shares = (scores / 0.8).softmax(dim=-1)
    kept = shares * torch.tensor([1.0, 0.0, 1.0, 0.0])  # the fewest that reach 0.8
    assert drawn.bincount(minlength=4) / number == pytest.approx(kept / kept.sum(), abs=0.03)
    assert draws.log_probabilities[0, 0] == pytest.approx(scores.log_softmax(dim=-1)[drawn[0]].item(), abs=1e-6)
