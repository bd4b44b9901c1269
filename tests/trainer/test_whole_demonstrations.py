"""Hybrid rollouts that are whole demonstrations: nothing of them is sampled, and everything else is."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from prefix_rft_trl import lab


WHOLE = {"prefix_ratio_schedule": "whole", "max_steps": 1}


def known_ids(trainer, example):
    return [*trainer._tokenizer(example["completion"])["input_ids"], trainer.eos_token_ids[0]]


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
def test_only_the_rollouts_that_are_not_known_are_sampled(
    make_trainer, record, watch_generate, num_prefix_generations
):
    trainer = make_trainer(**WHOLE, num_prefix_generations=num_prefix_generations)
    generations, calls = record(trainer), watch_generate(trainer)
    trainer.train()
    ((prompts, sampled),), (generation,) = calls, generations
    on_policy = [row for row in range(8) if row % 4 >= num_prefix_generations]
    assert prompts == [trainer._tokenizer(generation.inputs[row]["prompt"])["input_ids"] for row in on_policy]
    assert sampled == [generation.completion_ids[row] for row in on_policy]
    for row in set(range(8)) - set(on_policy):
        demonstration = known_ids(trainer, generation.inputs[row])
        assert generation.completion_ids[row] == demonstration
        assert generation.prefix_lengths[row] == len(demonstration)
    assert [generation.prefix_lengths[row] for row in on_policy] == [0] * len(on_policy)


def test_rollouts_without_a_demonstration_are_sampled_too(make_trainer, record, watch_generate):
    rows = lab.load_dataset("train", 16)
    some = [None if row % 2 else text for row, text in enumerate(rows["completion"])]
    dataset = rows.remove_columns("completion").add_column("completion", some)
    trainer = make_trainer(**WHOLE, train_dataset=dataset, per_device_train_batch_size=32)
    generations, calls = record(trainer), watch_generate(trainer)
    trainer.train()
    known = [row for row in range(0, 32, 4) if generations[0].inputs[row]["completion"]]
    assert 0 < len(known) < 8
    assert [row for row, length in enumerate(generations[0].prefix_lengths) if length] == known
    assert len(calls[0][0]) == 32 - len(known)


def test_reward_function_sees_the_text_of_the_demonstration(make_trainer, record):
    seen = []

    def seeing_reward(completions, **kwargs):
        seen.extend(completions)
        return lab.exact_answer_reward(completions, **kwargs)

    trainer = make_trainer(**WHOLE, reward_funcs=seeing_reward)
    generations = record(trainer)
    trainer.train()
    assert [seen[row] for row in (0, 4)] == [generations[0].inputs[row]["completion"] for row in (0, 4)]
    assert trainer.state.log_history[0]["prefix/reward_hybrid"] == 1.0


def test_demonstration_that_does_not_fit_whole_is_left_out_and_not_scored_as_a_failure(make_trainer, record):
    rows = lab.load_dataset("train", 2)
    dataset = rows.remove_columns("completion").add_column("completion", ["3+4=7;#7", "3+4=7;;#7"])
    trainer = make_trainer(**WHOLE, train_dataset=dataset, max_completion_length=9, per_device_train_batch_size=8)
    generations = record(trainer)
    trainer.train()
    found = {
        generation.inputs[row]["completion"]: generation.prefix_lengths[row]
        for generation in generations
        for row in (0, 4)
    }
    assert found == {"3+4=7;#7": 9, "3+4=7;;#7": 0}


def test_budget_in_which_no_demonstration_fits_whole_is_refused(make_trainer):
    with pytest.raises(ValueError, match=r"max_completion_length.*\(10\).*row \d+"):
        make_trainer(**WHOLE, max_completion_length=10)


def test_end_of_sequence_is_the_tokenizers_own_if_the_model_names_another_first(make_trainer, record, base_model):
    model = AutoModelForCausalLM.from_pretrained(base_model)
    eos = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [2, eos]
    trainer = make_trainer(**WHOLE, model=model)
    generations = record(trainer)
    trainer.train()
    assert [generations[0].completion_ids[row][-1] for row in (0, 4)] == [eos, eos]


def test_demonstration_of_a_single_token_is_used(make_trainer, record, caplog):
    rows = lab.load_dataset("train", 16)
    dataset = rows.remove_columns("completion").add_column("completion", ["4"] * 16)
    trainer = make_trainer(**WHOLE, train_dataset=dataset)
    assert "plain GRPO" not in caplog.text
    generations = record(trainer)
    trainer.train()
    assert [generations[0].prefix_lengths[row] for row in (0, 4)] == [2, 2]


def test_answer_of_a_chat_ends_as_the_model_ends_its_own(make_trainer, record, chat_model):
    rows = lab.load_dataset("train", 16)
    messages = [[{"role": "user", "content": text}] for text in rows["prompt"]]
    dataset = rows.remove_columns("prompt").add_column("prompt", messages)
    trainer = make_trainer(**WHOLE, model=chat_model, train_dataset=dataset, max_completion_length=64)
    generations = record(trainer)
    trainer.train()
    for row in (0, 4):
        text = trainer._tokenizer.decode(generations[0].completion_ids[row])
        assert text == generations[0].inputs[row]["completion"] + "<|im_end|>"


def test_server_is_asked_for_the_other_rollouts_alone_and_its_log_probabilities_are_theirs(
    make_trainer, serve, record, monkeypatch
):
    trainer, given = make_trainer(**WHOLE), []
    sampler, generations = serve(trainer, logp=-50.0), record(trainer)
    single_turn = trainer._generate_single_turn
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *args: given.append(single_turn(*args)) or given[-1])
    trainer.train()
    ((prompts, num_generations),), (_, logps), generation = sampler.asked, given[0], generations[0]
    on_policy = [1, 2, 3, 5, 6, 7]
    assert num_generations == 1
    assert prompts == [trainer._tokenizer(generation.inputs[row]["prompt"])["input_ids"] for row in on_policy]
    for row, ids in enumerate(generation.completion_ids):
        assert len(logps[row]) == len(ids)
        if row in on_policy:
            assert logps[row] == [-50.0, -50.0]
        else:
            assert all(math.isnan(logp) for logp in logps[row])
            assert generation.outputs["importance_sampling_ratio"][row, : len(ids)].unique().tolist() == [1.0]


def test_rollouts_that_are_sampled_for_other_processes_start_from_a_bare_prompt(
    make_trainer, record, watch_generate, monkeypatch
):
    # With a demonstration in front, one that fills the budget would leave nothing to sample
    trainer = make_trainer(**WHOLE, max_completion_length=33, num_prefix_generations=3)
    monkeypatch.setattr(trainer, "_as_many_as_others", lambda rows: [*rows, 0, 0, 0])
    generations, calls = record(trainer), watch_generate(trainer)
    trainer.train()
    (prompts, sampled), generation = calls[0], generations[0]
    asked = [3, 7, 0, 0, 0]
    assert prompts == [trainer._tokenizer(generation.inputs[row]["prompt"])["input_ids"] for row in asked]
    assert [generation.completion_ids[row] for row in (3, 7)] == sampled[:2]
    assert not any(ids[:6] == generation.completion_ids[0][:6] for ids in sampled[2:])
    assert generation.prefix_lengths == [33, 33, 33, 0] * 2


def test_evaluation_samples_every_rollout(make_trainer, record, watch_generate):
    trainer = make_trainer(
        **WHOLE, others={"eval_dataset": lab.load_dataset("test", 4)}, per_device_eval_batch_size=8, learning_rate=0.0
    )
    trainer.train()
    generations, calls = record(trainer), watch_generate(trainer)
    metrics = trainer.evaluate()
    assert [len(prompts) for prompts, _ in calls] == [8, 8]
    assert [generation.completion_ids for generation in generations] == [sampled for _, sampled in calls]
    assert not any("prefix/" in name for name in metrics)


def test_sampled_rollouts_are_those_of_their_own_prompts(make_trainer, record):
    trainer = make_trainer(**WHOLE, learning_rate=0.0, generation_kwargs={"do_sample": False})
    generations = record(trainer)
    trainer.train()
    for row in (1, 2, 3, 5, 6, 7):
        prompt = torch.tensor([trainer._tokenizer(generations[0].inputs[row]["prompt"])["input_ids"]])
        alone = trainer.model.generate(prompt, do_sample=False, max_new_tokens=40)
        assert alone[0, prompt.size(1) :].tolist() == generations[0].completion_ids[row]
