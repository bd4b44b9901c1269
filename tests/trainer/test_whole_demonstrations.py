"""Hybrid rollouts that are complete demonstrations: nothing of them is sampled, and everything else is."""

import functools
import math

import pytest
from transformers import AutoModelForCausalLM


WHOLE = {"prefix_ratio_schedule": "whole", "max_steps": 1}


@pytest.fixture
def make_whole(make_trainer):
    return functools.partial(make_trainer, **WHOLE)


@pytest.fixture
def train_whole(train):
    return functools.partial(train, **WHOLE)


@pytest.fixture
def watch_generate(monkeypatch):
    """Lists, for each call of a model's `generate`, the prompts and the completions, without padding."""

    def watch(trainer):
        calls, generate, pad = [], trainer.model.generate, trainer._tokenizer.pad_token_id

        def watched(input_ids, **kwargs):
            outputs = generate(input_ids=input_ids, **kwargs)
            prompts = [[token for token in row if token != pad] for row in input_ids.tolist()]
            sampled = [[token for token in row if token != pad] for row in outputs[:, input_ids.size(1) :].tolist()]
            calls.append((prompts, sampled))
            return outputs

        monkeypatch.setattr(trainer.model, "generate", watched)
        return calls

    return watch


@pytest.mark.parametrize("num_prefix_generations", [1, 3])
def test_only_the_on_policy_rollouts_are_sampled(make_whole, train, watch_generate, num_prefix_generations):
    trainer = make_whole(num_prefix_generations=num_prefix_generations)
    calls, run = watch_generate(trainer), train(trainer=trainer)
    ((prompts, sampled),), generation = calls, run.generation
    on_policy = [row for row in range(8) if row % 4 >= num_prefix_generations]
    assert prompts == [run.input_ids("prompt")[row] for row in on_policy]
    assert sampled == [generation.completion_ids[row] for row in on_policy]
    assert [generation.prefix_lengths[row] for row in on_policy] == [0] * len(on_policy)
    for row in set(range(8)) - set(on_policy):
        demonstration = [*run.input_ids("completion")[row], trainer.eos_token_ids[0]]
        assert generation.completion_ids[row] == demonstration
        assert generation.prefix_lengths[row] == len(demonstration)


def test_rollouts_without_a_demonstration_are_sampled_too(make_whole, train, lab_rows, watch_generate):
    some = [None if row % 2 else text for row, text in enumerate(lab_rows()["completion"])]
    trainer = make_whole(train_dataset=lab_rows(completion=some), per_device_train_batch_size=32)
    calls, generation = watch_generate(trainer), train(trainer=trainer).generation
    known = [row for row in range(0, 32, 4) if generation.inputs[row]["completion"]]
    assert 0 < len(known) < 8
    assert [row for row, length in enumerate(generation.prefix_lengths) if length] == known
    assert len(calls[0][0]) == 32 - len(known)


def test_rollouts_that_are_all_whole_demonstrations_are_refused(make_whole):
    with pytest.raises(ValueError, match=r"='whole'` .*`num_prefix.*\(4\) samples nothing.*`SFTTrainer`"):
        make_whole(num_generations=4, num_prefix_generations=4)


def test_budget_in_which_no_demonstration_fits_is_refused(make_whole):
    with pytest.raises(ValueError, match=r"max_completion_length.*\(10\).*row \d+"):
        make_whole(max_completion_length=10)


def test_end_of_sequence_is_the_tokenizers_own_if_the_model_names_another_first(train_whole, base_model):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    eos = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [2, eos]
    generation = train_whole(model=model).generation
    assert [generation.completion_ids[row][-1] for row in (0, 4)] == [eos, eos]


def test_demonstration_of_a_single_token_is_used(train_whole, lab_rows, caplog):
    generation = train_whole(train_dataset=lab_rows(completion=["4"] * 16)).generation
    assert "plain GRPO" not in caplog.text
    assert [generation.prefix_lengths[row] for row in (0, 4)] == [2, 2]


def test_answer_of_a_chat_ends_as_the_model_ends_its_own(train_whole, lab_rows, as_message, chat_model):
    rows = lab_rows(prompt=as_message("user"))
    run = train_whole(model=chat_model, train_dataset=rows, max_completion_length=64)
    for row in (0, 4):
        text = run.trainer._tokenizer.decode(run.generation.completion_ids[row])
        assert text == run.generation.inputs[row]["completion"] + "<|im_end|>"


def test_server_samples_the_on_policy_rollouts_alone(make_whole, train, serve, monkeypatch):
    trainer, turns = make_whole(), []
    sampler, single_turn = serve(trainer, logp=-50.0), trainer._generate_single_turn
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *args: turns.append(single_turn(*args)) or turns[-1])
    run = train(trainer=trainer)
    ((prompts, num_generations),), (_, logps), generation = sampler.requests, turns[0], run.generation
    on_policy = [1, 2, 3, 5, 6, 7]
    assert num_generations == 1
    assert prompts == [run.input_ids("prompt")[row] for row in on_policy]
    for row, ids in enumerate(generation.completion_ids):
        assert len(logps[row]) == len(ids)
        if row in on_policy:
            assert logps[row] == [-50.0, -50.0]
        else:
            assert all(map(math.isnan, logps[row]))
            assert generation.outputs["importance_sampling_ratio"][row, : len(ids)].unique().tolist() == [1.0]
