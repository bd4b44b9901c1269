"""UFT's hints on the real path: one for all rollouts of a group, of complete sentences, none after the decay."""

import pytest


HINTS = {
    "num_prefix_generations": 4,
    "prefix_shared_in_group": True,
    "prefix_ratio_distribution": "binomial",
    "per_device_train_batch_size": 32,
}


@pytest.mark.parametrize(("distribution", "schedule"), [("uniform", "constant"), ("binomial", "cosine")])
@pytest.mark.parametrize("number", [3, 4])
def test_hybrid_rollouts_of_a_group_share_a_prefix(train, distribution, schedule, number):
    settings = {"prefix_ratio_distribution": distribution, "prefix_ratio_schedule": schedule}
    settings |= {"num_prefix_generations": number, "prefix_ratio_high": 0.6, "prefix_ratio_low": 0.3, "max_steps": 1}
    run = train(**HINTS | settings)
    generation, demonstrations = run.generation, run.input_ids("completion")
    groups = {start: generation.prefix_lengths[start : start + 4] for start in range(0, 32, 4)}
    for start, lengths in groups.items():
        assert lengths == [lengths[0]] * number + [0] * (4 - number)
        for ids in generation.completion_ids[start : start + number]:
            assert ids[: lengths[0]] == demonstrations[start][: lengths[0]]
            assert len(ids) > lengths[0]
    assert len({lengths[0] for lengths in groups.values()}) > 2


def test_hints_end_with_a_step_and_stop_after_the_decay(train):
    run = train(**HINTS, max_steps=4, prefix_ratio_decay_steps=3, learning_rate=0.0)
    numbers_of_hints, shares = [], []
    for generation in run.generations:
        rows = zip(generation.completion_ids, generation.prefix_lengths, strict=True)
        hints = [run.trainer._tokenizer.decode(ids[:length]) for ids, length in rows if length]
        # The lab's demonstrations are steps, each closed by a semicolon, and the answer, of which a token is sampled
        almost_complete = {row["completion"][:-1] for row in generation.inputs}
        assert all(hint.endswith(";") or hint in almost_complete for hint in hints)
        numbers_of_hints.append(len(hints))
        lengths = map(len, run.input_ids("completion", generation))
        given = [given / of for given, of in zip(generation.prefix_lengths, lengths, strict=True) if given]
        shares.append(sum(given) / len(given) if given else None)
    assert (numbers_of_hints[0], numbers_of_hints[3]) == (32, 0)
    # p goes from 0.95 by a cosine to 0.05
    assert run.logged("prefix/ratio_low") == pytest.approx([0.95, 0.725, 0.275, 0.0])
    assert run.logged("prefix/demonstration_share") == pytest.approx([number / 32 for number in numbers_of_hints])
    assert run.logged("prefix/ratio") == pytest.approx(shares)  # what is given, not the probability of a slice
    assert run.logged("prefix/tokens")[3] == 0.0
    assert run.logged("prefix/length")[3] is None
