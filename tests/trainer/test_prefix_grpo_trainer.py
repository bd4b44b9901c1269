"""The method on its real path: rollouts, advantages, the loss and its gradient, draws, plain GRPO, resuming."""

import functools

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


def weights_of(trainer):
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def demonstration_ids_of(trainer, inputs):
    return [trainer._tokenizer(example["completion"])["input_ids"] for example in inputs]


# Rollouts


def test_every_parameter_learns(make_trainer):
    trainer = make_trainer(max_steps=1)
    before = weights_of(trainer)
    trainer.train()
    assert [name for name, weight in trainer.model.named_parameters() if torch.equal(weight, before[name])] == []


@pytest.mark.parametrize("num_prefix_generations", [1, 2, 4])
def test_hybrid_rollouts_alone_start_with_their_demonstration(make_trainer, record, num_prefix_generations):
    # The base model hardly ever works step by step by itself; without learning it stays so
    trainer = make_trainer(
        num_prefix_generations=num_prefix_generations, prefix_ratio_schedule="uniform", learning_rate=0.0
    )
    generations = record(trainer)
    trainer.train()
    assert len(generations) == 2
    for generation in generations:
        demonstrations = demonstration_ids_of(trainer, generation.inputs)
        for row, (length, ids, demonstration) in enumerate(
            zip(generation.prefix_lengths, generation.completion_ids, demonstrations, strict=True)
        ):
            if row % 4 < num_prefix_generations:
                assert 1 <= length < len(demonstration)
                assert ids[:length] == demonstration[:length]
                assert length < len(ids) <= 40
            else:
                assert length == 0
                assert ids[:6] != demonstration[:6]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5},
        {"generation_kwargs": {"min_new_tokens": 35}},
        {"generation_kwargs": {"do_sample": False}},
        {"cache_implementation": "static"},
        {"use_transformers_continuous_batching": True, "transformers_continuous_batching_config": {"num_blocks": 64}},
    ],
    ids=str,
)
def test_settings_of_the_sampler_do_not_reach_into_the_prefix(make_trainer, record, settings):
    trainer = make_trainer(max_steps=1, **settings)
    generations = record(trainer)
    trainer.train()
    demonstrations = demonstration_ids_of(trainer, generations[0].inputs)
    for row in (0, 4):
        length, ids = generations[0].prefix_lengths[row], generations[0].completion_ids[row]
        assert ids[:length] == demonstrations[row][:length]
        assert 1 <= length < len(ids) <= 40


def test_a_certain_policy_goes_on_from_the_prefix_as_it_would_from_the_text(make_trainer, record):
    trainer = make_trainer(
        max_steps=1, learning_rate=0.0, prefix_ratio_schedule="uniform", generation_kwargs={"do_sample": False}
    )
    generations = record(trainer)
    trainer.train()
    for row, length in enumerate(generations[0].prefix_lengths):
        prompt = trainer._tokenizer(generations[0].inputs[row]["prompt"])["input_ids"]
        given = torch.tensor([prompt + generations[0].completion_ids[row][:length]])
        alone = trainer.model.generate(given, do_sample=False, max_new_tokens=40 - length)
        assert alone[0, len(prompt) :].tolist() == generations[0].completion_ids[row]


def test_shuffled_rows_keep_the_length_of_their_own_prefix(make_trainer):
    trainer = make_trainer(gradient_accumulation_steps=2, max_steps=1, learning_rate=0.0)
    trainer.train()
    completions = {row["prompt"]: row["completion"] for row in trainer.train_dataset}
    lengths = []
    for batch in trainer._buffered_inputs:
        prompts = trainer._tokenizer.batch_decode(batch["prompt_ids"], skip_special_tokens=True)
        for prompt, ids, length in zip(prompts, batch["completion_ids"], batch["prefix_lengths"], strict=True):
            demonstration = trainer._tokenizer(completions[prompt])["input_ids"]
            starts_alike = ids[:6].tolist() == demonstration[:6]
            assert starts_alike == (length > 0)
            assert ids[:length].tolist() == demonstration[:length]
            lengths.append(length.item())
    assert sum(length > 0 for length in lengths) == 4


@pytest.mark.parametrize("num_prefix_generations", [1, 4])
def test_prefix_and_continuation_fit_in_a_budget_shorter_than_the_demonstration(
    make_trainer, record, num_prefix_generations
):
    trainer = make_trainer(max_completion_length=10, num_prefix_generations=num_prefix_generations)
    generations = record(trainer)
    trainer.train()
    for generation in generations:
        for length, ids in zip(generation.prefix_lengths[::4], generation.completion_ids[::4], strict=True):
            assert 1 <= length < len(ids) <= 10


def test_nothing_is_decoded_beyond_what_the_shortest_prefix_leaves_of_the_budget(make_trainer, record, monkeypatch):
    without_end = {"suppress_tokens": [1]}  # every row goes on until it is stopped
    trainer = make_trainer(num_prefix_generations=4, max_steps=1, generation_kwargs=without_end)
    generations, decoded, generate = record(trainer), [], trainer.model.generate

    def counting(input_ids, **kwargs):
        outputs = generate(input_ids=input_ids, **kwargs)
        decoded.append(outputs.size(1) - input_ids.size(1))
        return outputs

    monkeypatch.setattr(trainer.model, "generate", counting)
    trainer.train()
    assert decoded == [40 - min(generations[0].prefix_lengths)]
    assert {len(ids) for ids in generations[0].completion_ids} == {40}


def test_reward_function_sees_prefix_and_continuation_as_one_text(make_trainer, record):
    seen = []

    def seeing_reward(prompts, completions, completion_ids, **kwargs):
        seen.append((completions, completion_ids))
        return [0.0] * len(completions)

    trainer = make_trainer(reward_funcs=seeing_reward, max_steps=1)
    generations = record(trainer)
    trainer.train()
    (texts, ids), generation = seen[0], generations[0]
    assert ids == generation.completion_ids
    assert texts == trainer._tokenizer.batch_decode(ids, skip_special_tokens=True)
    for row in (0, 4):
        demonstration, length = generation.inputs[row]["completion"], generation.prefix_lengths[row]
        assert length > 0
        assert texts[row].startswith(demonstration[:length])


def test_evaluation_never_starts_from_a_prefix(make_trainer, record):
    trainer = make_trainer(
        num_prefix_generations=4,
        others={"eval_dataset": lab.load_dataset("test", 4)},
        per_device_eval_batch_size=8,
        max_steps=1,
        learning_rate=0.0,
    )
    trainer.train()
    generations = record(trainer)
    metrics = trainer.evaluate()
    assert len(generations) == 2
    for generation in generations:
        assert "prefix_lengths" not in generation.outputs
        demonstrations = demonstration_ids_of(trainer, generation.inputs)
        pairs = zip(generation.completion_ids, demonstrations, strict=True)
        assert not any(ids[:6] == demonstration[:6] for ids, demonstration in pairs)
    assert not any("prefix/" in name for name in metrics)


def test_server_continues_each_prefix_of_a_group_by_itself(make_trainer, serve, record):
    trainer = make_trainer(num_prefix_generations=4, max_steps=1, prefix_ratio_schedule="uniform")
    sampler, generations = serve(trainer), record(trainer)
    trainer.train()
    (prompts, num_generations), generation = sampler.asked[0], generations[0]
    demonstrations = demonstration_ids_of(trainer, generation.inputs)
    assert num_generations == 1
    for row, length in enumerate(generation.prefix_lengths):
        prompt = trainer._tokenizer(generation.inputs[row]["prompt"])["input_ids"]
        assert prompts[row] == prompt + demonstrations[row][:length]
        assert generation.completion_ids[row] == [
            *demonstrations[row][:length],
            prompts[row][-1],
            sampler.eos_token_id,
        ]
    assert len(set(generation.prefix_lengths[:4])) > 1


def test_correction_for_the_sampler_leaves_the_prefix_alone(make_trainer, serve, record):
    # A log-probability so far off that TRL drops what was sampled
    trainer = make_trainer(max_steps=1)
    _, generations = serve(trainer, logp=-50.0), record(trainer)
    trainer.train()
    ratios, lengths = generations[0].outputs["importance_sampling_ratio"], generations[0].prefix_lengths
    for ratio, length, ids in zip(ratios, lengths, generations[0].completion_ids, strict=True):
        assert ratio[: len(ids)].tolist() == [1.0] * length + [0.0] * (len(ids) - length)


# Plain GRPO


def losses_of(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("settings", [{"config_class": GRPOConfig}, {"num_prefix_generations": 0}], ids=str)
def test_without_hybrid_rollouts_it_is_grpo_bit_for_bit(make_trainer, settings):
    plain = make_trainer(GRPOTrainer, max_steps=3, **settings)
    plain.train()
    trainer = make_trainer(PrefixGRPOTrainer, max_steps=3, **settings)
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert [name for name, weight in plain.model.named_parameters() if not torch.equal(weight, after[name])] == []
    assert losses_of(trainer) == losses_of(plain)
    assert len(losses_of(trainer)) == 3


@pytest.mark.parametrize("settings", [{"config_class": GRPOConfig}, {"num_prefix_generations": 0}], ids=str)
def test_model_card_of_a_run_without_hybrid_rollouts_cites_grpo(make_trainer, tmp_path, settings):
    make_trainer(**settings).create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert "2402.03300" in card
    assert "2507.01679" not in card
    assert "prefix-rft" not in card


def test_arguments_default_to_the_paper_and_name_the_model(base_model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    on_cpu = functools.partial(PrefixGRPOConfig, use_cpu=True, bf16=False)
    monkeypatch.setattr("prefix_rft_trl.trainer.PrefixGRPOConfig", on_cpu)
    trainer = PrefixGRPOTrainer(base_model, lab.exact_answer_reward, train_dataset=lab.load_dataset("train", 8))
    assert trainer.args.num_prefix_generations == 1
    assert trainer.args.loss_type == "dr_grpo"
    assert trainer.args.output_dir == "base_model-Prefix-RFT"


# Draws


@pytest.fixture
def drawn_lengths(make_trainer, record):
    def draw(**settings):
        trainer = make_trainer(prefix_ratio_schedule="uniform", num_prefix_generations=4, **settings)
        generations = record(trainer)
        trainer.train()
        return [generation.prefix_lengths for generation in generations]

    return draw


def test_draws_are_those_of_the_seed(drawn_lengths):
    first = drawn_lengths(seed=1, data_seed=1)
    assert drawn_lengths(seed=1, data_seed=1) == first
    assert drawn_lengths(seed=2, data_seed=2) != first


def test_draws_of_each_rollout_and_step_differ(drawn_lengths):
    first, second = drawn_lengths()
    assert first != second
    assert len(set(first)) > 4


def test_draws_of_the_generation_batches_of_one_step_differ(drawn_lengths):
    # All demonstrations have the same length, so the same draws would give the same lengths
    lengths = drawn_lengths(gradient_accumulation_steps=3, steps_per_generation=1, max_steps=1)
    assert len(lengths) == 3
    assert len(set(map(tuple, lengths))) == 3


@pytest.mark.parametrize(
    "settings", [{}, {"gradient_accumulation_steps": 2, "steps_per_generation": 1}, {"num_iterations": 2}], ids=str
)
def test_resumed_run_ends_like_one_that_was_not_interrupted(make_trainer, record, tmp_path, settings):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, **settings}
    whole = make_trainer(**settings)
    generations = record(whole)
    whole.train()
    resumed = make_trainer(**settings)
    generations_after = record(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [generation.prefix_lengths for generation in generations_after] == [
        generation.prefix_lengths for generation in generations[len(generations) // 2 :]
    ]
    assert losses_of(resumed) == pytest.approx(losses_of(whole))
    after = dict(resumed.model.named_parameters())
    for name, weight in whole.model.named_parameters():
        torch.testing.assert_close(after[name], weight, msg=lambda m, n=name: f"{n}: {m}")
