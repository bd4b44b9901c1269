"""UFT's hints on the real path: one for all rollouts of a group, of whole sentences, none after the decay."""

import pytest


HINTS = {
    "num_prefix_generations": 4,
    "prefix_shared_in_group": True,
    "prefix_ratio_distribution": "binomial",
    "per_device_train_batch_size": 32,
}


@pytest.mark.parametrize("distribution", ["uniform", "binomial"])
@pytest.mark.parametrize("num_prefix_generations", [3, 4])
def test_hybrid_rollouts_of_a_group_start_from_one_prefix_and_groups_from_others(
    make_trainer, record, distribution, num_prefix_generations
):
    trainer = make_trainer(
        **HINTS
        | {
            "max_steps": 1,
            "prefix_ratio_distribution": distribution,
            "num_prefix_generations": num_prefix_generations,
            "prefix_ratio_high": 0.6,
            "prefix_ratio_low": 0.3,
            "prefix_ratio_schedule": "uniform" if distribution == "uniform" else "cosine",
        }
    )
    generations = record(trainer)
    trainer.train()
    (generation,) = generations
    of_groups = [generation.prefix_lengths[start : start + 4] for start in range(0, 32, 4)]
    for start, lengths in zip(range(0, 32, 4), of_groups, strict=True):
        assert lengths == [lengths[0]] * num_prefix_generations + [0] * (4 - num_prefix_generations)
        demonstration = trainer._tokenizer(generation.inputs[start]["completion"])["input_ids"]
        for ids in generation.completion_ids[start : start + num_prefix_generations]:
            assert ids[: lengths[0]] == demonstration[: lengths[0]]
            assert len(ids) > lengths[0]
    assert len({lengths[0] for lengths in of_groups}) > 2


def test_hints_end_with_a_step_and_stop_after_the_decay(make_trainer, record):
    trainer = make_trainer(**HINTS, max_steps=4, prefix_ratio_decay_steps=3, learning_rate=0.0)
    generations = record(trainer)
    trainer.train()
    number_of_hints = []
    for generation in generations:
        hints = [
            trainer._tokenizer.decode(ids[:length])
            for ids, length in zip(generation.completion_ids, generation.prefix_lengths, strict=True)
            if length
        ]
        texts = [row["completion"] for row in generation.inputs]
        # The lab's demonstrations are steps, each closed by a semicolon, and the answer, of which a token is sampled
        assert all(hint.endswith(";") or hint in {text[:-1] for text in texts} for hint in hints)
        number_of_hints.append(len(hints))
    assert number_of_hints[0] == 32
    assert number_of_hints[3] == 0
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    # p goes from 0.95 by a cosine to 0.05
    assert [entry["prefix/ratio_low"] for entry in steps] == pytest.approx([0.95, 0.725, 0.275, 0.0])
    assert [entry["prefix/demonstration_share"] for entry in steps] == pytest.approx(
        [number / 32 for number in number_of_hints]
    )
    assert steps[3]["prefix/tokens"] == 0.0
    assert steps[3]["prefix/length"] is None


def test_hint_leaves_room_in_a_budget_shorter_than_it(make_trainer, record):
    trainer = make_trainer(**HINTS, max_steps=1, max_completion_length=8)
    generations = record(trainer)
    trainer.train()
    assert max(generations[0].prefix_lengths) == 7
    assert max(map(len, generations[0].completion_ids)) == 8
