"""The correction for the engine's log-probs scales and drops what it sampled, and never the demonstration."""

from typing import Any

import pytest
import torch


CLIP = 3.0  # of TRL
SURPRISING = 0  # a hybrid row, of which the engine says that its first token was less likely than it is by exp(2)
EXPECTED = {  # of the first sampled token of that row, and of the others
    "token_truncate": (CLIP, 1.0),
    "token_mask": (0.0, 1.0),
    "sequence_truncate": (CLIP, CLIP),
    "sequence_mask": (0.0, 0.0),
}


@pytest.fixture(scope="module")
def trainer(make_trainer) -> Any:
    trainer = make_trainer(prefix_ratio_high=0.5, learning_rate=0.0)  # trains again and again
    assert trainer.vllm_importance_sampling_clip_max == CLIP
    engine = trainer.vllm_generation.llm
    generate = engine.generate

    def generate_and_surprise(*args: Any, **kwargs: Any) -> list[Any]:
        answers = generate(*args, **kwargs)
        (logprob,) = answers[SURPRISING].outputs[0].logprobs[0].values()
        logprob.logprob -= 2.0
        return answers

    engine.generate = generate_and_surprise
    return trainer


@pytest.mark.parametrize("mode", EXPECTED)
def test_ratio_is_1_on_the_prefix_and_clipped_on_the_continuation(trainer, record, mode):
    trainer.vllm_importance_sampling_mode = mode
    generations = record(trainer)
    trainer.train()
    outputs, lengths = generations[-1].outputs, generations[-1].prefix_lengths
    ratios = outputs["importance_sampling_ratio"]
    assert [length > 0 for length in lengths] == [True, True, False, False] * 4
    first, others = EXPECTED[mode]
    for row, length in enumerate(lengths):
        sampled = outputs["completion_mask"][row].bool()
        sampled[:length] = False
        of_row = ratios.expand(len(lengths), sampled.numel())[row]
        assert (of_row[:length] == 1).all()
        expected = torch.ones_like(of_row[sampled])
        if row == SURPRISING:
            expected[:] = others
            expected[0] = first
        torch.testing.assert_close(of_row[sampled], expected, rtol=1e-4, atol=0)
    assert len(ratios[SURPRISING, lengths[SURPRISING] :]) > 1
