"""Stages on vLLM's own engine: trained is what it was given and what it said, and all that it said is counted."""

import zlib
from typing import Any

import pytest


KINDS = {
    "ladder": {"prefix_stage_ratios": [0.25, 0.5, 0.75]},
    "one_rollout": {"prefix_stage_ratios": [0.25, 1], "prefix_stage_replaces": "rollout"},
    "divided": {
        "prefix_stage_ratios": [0.5, 1], "prefix_stage_replaces": "none", "prefix_stage_generations": [1, 1],
        "prefix_stage_thresholds": [0.4, 0.9],
    },
}  # fmt: skip


def judge(prompts: list[str], completions: list[str], **others: Any) -> list[float]:
    texts = map("".join, zip(prompts, completions, strict=True))
    return [float(zlib.crc32(text.encode()) % 4 == 0) for text in texts]


@pytest.mark.parametrize("kind", KINDS)
def test_staged_batch(make_trainer, record, kind):
    trainer = make_trainer(
        reward_funcs=judge, num_prefix_generations=0, max_completion_length=40, max_steps=2, **KINDS[kind]
    )
    said: list[list[int]] = []
    requests: list[int] = []
    generate = trainer.vllm_generation.llm.generate

    def generate_and_keep(prompts: list[Any], **others: Any) -> list[Any]:
        answers = generate(prompts, **others)
        requests.append(len(prompts))
        for prompt, answer in zip(prompts, answers, strict=True):
            said.append([list(prompt["prompt_token_ids"]), list(answer.outputs[0].token_ids)])
        return answers

    trainer.vllm_generation.llm.generate = generate_and_keep
    generations = record(trainer)
    trainer.train()
    assert len(requests) > 3, "stages asked for rows of their own"
    assert min(requests) < 16
    asked_and_said = [prompt + answer for prompt, answer in said]
    whole = 0
    for generation in generations:
        outputs = generation.outputs
        for row, ids in enumerate(generation.completion_ids):
            prompt = outputs["prompt_ids"][row][outputs["prompt_mask"][row].bool()].tolist()
            logps = outputs["sampling_per_token_logps"][row][: len(ids)]
            length = generation.prefix_lengths[row]
            assert logps.isnan().tolist() == [place < length for place in range(len(ids))]
            if length == len(ids):
                whole += 1  # a demonstration, which nobody sampled
            else:
                assert prompt + ids in asked_and_said
    assert whole or kind != "divided"
    # Ratio 1: the policy gives what the engine sampled the probability that the engine gave it
    differences = [entry["sampling/sampling_logp_difference/max"] for entry in trainer.state.log_history[:1]]
    assert 0 < differences[0] < 1e-3
    logged = [entry["sampling/decoded_tokens"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(logged) == sum(len(answer) for _, answer in said)
