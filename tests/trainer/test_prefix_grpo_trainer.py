"""The method on its real path: rollouts, draws, plain GRPO, resuming."""

import functools

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


CONTINUOUS_BATCHING = {
    "use_transformers_continuous_batching": True,
    "transformers_continuous_batching_config": {"num_blocks": 64, "max_batch_tokens": 64},
}


# Rollouts


@pytest.mark.parametrize("num_prefix_generations", [1, 2, 4])
def test_hybrid_rollouts_alone_start_with_their_demonstration(train, num_prefix_generations):
    # The base model hardly ever works step by step by itself; without learning it stays so
    run = train(num_prefix_generations=num_prefix_generations, prefix_ratio_schedule="constant", learning_rate=0.0)
    assert len(run.generations) == 2
    for generation in run.generations:
        demonstrations = run.input_ids("completion", generation)
        rows = zip(generation.prefix_lengths, generation.completion_ids, demonstrations, strict=True)
        for row, (length, ids, demonstration) in enumerate(rows):
            if row % 4 < num_prefix_generations:
                assert 1 <= length < len(demonstration)
                assert ids[:length] == demonstration[:length]
                assert length < len(ids) <= 40
            else:
                assert length == 0
                assert ids[:6] != demonstration[:6]


def test_greedy_policy_continues_a_prefix_as_it_would_continue_the_text(train):
    run = train(
        max_steps=1, learning_rate=0.0, prefix_ratio_schedule="constant", generation_kwargs={"do_sample": False}
    )
    prompts = run.input_ids("prompt")
    rows = zip(prompts, run.generation.completion_ids, run.generation.prefix_lengths, strict=True)
    for prompt, ids, length in rows:
        start = torch.tensor([prompt + ids[:length]])
        alone = run.trainer.model.generate(start, do_sample=False, max_new_tokens=40 - length)
        assert alone[0, len(prompt) :].tolist() == ids


def test_shuffled_rows_keep_their_own_prefix_length(train):
    run = train(gradient_accumulation_steps=2, max_steps=1, learning_rate=0.0)
    completions = {row["prompt"]: row["completion"] for row in run.trainer.train_dataset}
    lengths = []
    for batch in run.trainer._buffered_inputs:
        prompts = run.trainer._tokenizer.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
        demonstrations = run.ids([completions[prompt] for prompt in prompts])
        rows = zip(demonstrations, batch["completion_ids"], batch["prefix_lengths"], strict=True)
        for demonstration, ids, length in rows:
            assert (ids[:6].tolist() == demonstration[:6]) == (length > 0)
            assert ids[:length].tolist() == demonstration[:length]
            lengths.append(length.item())
    assert sum(length > 0 for length in lengths) == 4


def test_nothing_is_decoded_beyond_what_the_shortest_prefix_leaves_of_the_budget(make_trainer, train, monkeypatch):
    never_ending = {"suppress_tokens": [1]}  # each row is sampled until it is stopped
    trainer = make_trainer(num_prefix_generations=4, max_steps=1, generation_kwargs=never_ending)
    decoded, generate = [], trainer.model.generate

    def count(input_ids, **kwargs):
        outputs = generate(input_ids=input_ids, **kwargs)
        decoded.append(outputs.size(1) - input_ids.size(1))
        return outputs

    monkeypatch.setattr(trainer.model, "generate", count)
    run = train(trainer=trainer)
    assert decoded == [40 - min(run.generation.prefix_lengths)]
    assert {len(ids) for ids in run.generation.completion_ids} == {40}


def test_reward_function_sees_prefix_and_continuation_as_one_text(train):
    seen = []

    def seeing_reward(prompts, completions, completion_ids, **kwargs):
        seen.append((completions, completion_ids))
        return [0.0] * len(completions)

    run = train(reward_funcs=seeing_reward, max_steps=1)
    (texts, ids), generation = seen[0], run.generation
    assert ids == generation.completion_ids
    assert texts == run.trainer._tokenizer.batch_decode(ids, skip_special_tokens=True)
    for row in (0, 4):
        demonstration, length = generation.inputs[row]["completion"], generation.prefix_lengths[row]
        assert length > 0
        assert texts[row].startswith(demonstration[:length])


@pytest.mark.parametrize("settings", [{}, {"prefix_ratio_schedule": "whole"}, CONTINUOUS_BATCHING], ids=str)
def test_evaluation_never_starts_from_a_prefix(train, record, settings):
    run = train(
        num_prefix_generations=3,
        others={"eval_dataset": lab.load_dataset("test", 6)},
        per_device_eval_batch_size=8,
        max_steps=1,
        learning_rate=0.0,
        **settings,
    )
    generations = record(run.trainer)
    metrics = run.trainer.evaluate()
    assert len(generations) == 3
    assert "eval_reward" in metrics
    for generation in generations:
        assert "prefix_lengths" not in generation.outputs
        pairs = zip(generation.completion_ids, run.input_ids("completion", generation), strict=True)
        assert not any(ids[:6] == demonstration[:6] for ids, demonstration in pairs)
    assert not any("prefix/" in name for name in metrics)


def test_server_continues_each_prefix_of_a_group_by_itself(make_trainer, serve, train):
    trainer = make_trainer(num_prefix_generations=4, max_steps=1, prefix_ratio_schedule="constant")
    sampler, run = serve(trainer), train(trainer=trainer)
    requested, num_generations = sampler.requests[0]
    assert num_generations == 1
    prompts, demonstrations = run.input_ids("prompt"), run.input_ids("completion")
    for row, length in enumerate(run.generation.prefix_lengths):
        prefix = demonstrations[row][:length]
        assert requested[row] == prompts[row] + prefix
        assert run.generation.completion_ids[row] == [*prefix, requested[row][-1], sampler.eos_token_id]
    assert len(set(run.generation.prefix_lengths[:4])) > 1


def test_correction_for_the_sampler_leaves_the_prefix_alone(make_trainer, serve, train):
    trainer = make_trainer(max_steps=1)
    serve(trainer, logp=-50.0)  # so far off that TRL drops what was sampled
    generation = train(trainer=trainer).generation
    ratios, lengths = generation.outputs["importance_sampling_ratio"], generation.prefix_lengths
    for ratio, length, ids in zip(ratios, lengths, generation.completion_ids, strict=True):
        assert ratio[: len(ids)].tolist() == [1.0] * length + [0.0] * (len(ids) - length)


# Plain GRPO


AS_TRL = dict.fromkeys(("trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts"), False)


@pytest.mark.parametrize("settings", [{"config_class": GRPOConfig}, {"num_prefix_generations": 0} | AS_TRL], ids=str)
def test_without_hybrid_rollouts_it_is_grpo_bit_for_bit(train, settings):
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}
    plain, ours = (train(trainer, max_steps=3, **cut, **settings) for trainer in (GRPOTrainer, PrefixGRPOTrainer))
    after = dict(ours.trainer.model.named_parameters())
    assert [
        name for name, weight in plain.trainer.model.named_parameters() if not torch.equal(weight, after[name])
    ] == []
    assert ours.logged("loss") == plain.logged("loss")
    assert len(ours.logged("loss")) == 3


def test_arguments_default_to_the_paper_and_name_the_model(base_model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    on_cpu = functools.partial(PrefixGRPOConfig, use_cpu=True, bf16=False, max_completion_length=56)
    monkeypatch.setattr("prefix_rft_trl.trainer.PrefixGRPOConfig", on_cpu)
    trainer = PrefixGRPOTrainer(base_model, lab.exact_answer_reward, train_dataset=lab.load_dataset("train", 8))
    assert trainer.args.num_prefix_generations == 1
    assert trainer.args.loss_type == "dr_grpo"
    assert trainer.args.output_dir == "base_model-Prefix-RFT"


# Draws


@pytest.fixture
def drawn_lengths(train):
    def draw(**settings):
        run = train(prefix_ratio_schedule="constant", num_prefix_generations=4, **settings)
        return [generation.prefix_lengths for generation in run.generations]

    return draw


def test_draws_depend_on_the_seed_alone(drawn_lengths):
    first = drawn_lengths(seed=1, data_seed=1)
    assert drawn_lengths(seed=1, data_seed=1) == first
    assert drawn_lengths(seed=2, data_seed=2) != first


# All demonstrations have the same length, so the same draws would give the same lengths
@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 3, "steps_per_generation": 1}], ids=str)
def test_each_rollout_and_generation_batch_has_its_own_draws(drawn_lengths, settings):
    lengths = drawn_lengths(**settings)
    assert len(lengths) == (6 if settings else 2)
    assert len(set(map(tuple, lengths))) == len(lengths)
    assert len(set(lengths[0])) > 4


@pytest.mark.parametrize(
    "settings", [{}, {"gradient_accumulation_steps": 2, "steps_per_generation": 1}, {"num_iterations": 2}], ids=str
)
def test_resumed_run_ends_like_an_uninterrupted_one(train_and_resume, settings):
    unbroken, resumed = train_and_resume(**settings)
    half = len(unbroken.generations) // 2
    assert [generation.prefix_lengths for generation in resumed.generations] == [
        generation.prefix_lengths for generation in unbroken.generations[half:]
    ]
