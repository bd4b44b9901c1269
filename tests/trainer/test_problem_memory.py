"""Prefixes that follow each problem's own success, on the real path, and through a checkpoint."""

import math

import pytest
import torch
from datasets import concatenate_datasets

from prefix_rft_trl import lab


def place_reward(solved_places):
    """Rewards 1 at the places of a group that `solved_places` gives for its prompt, else 0."""

    def reward(prompts, **kwargs):
        return [float(row % 4 in solved_places(prompt)) for row, prompt in enumerate(prompts)]

    return reward


def lengths_by_prompt(generation):
    """The prefix lengths of each prompt's hybrid rollout, the first of its group."""
    firsts = range(0, len(generation.inputs), 4)
    return {generation.inputs[row]["prompt"]: generation.prefix_lengths[row] for row in firsts}


@pytest.fixture
def every_prompt_each_step(make_trainer, record):
    """A run whose steps see the same four prompts: its generation batches, and the prompts in order."""

    def run(solved_places, **settings):
        rows = lab.load_dataset("train", 4)
        order = {prompt: place for place, prompt in enumerate(rows["prompt"])}
        trainer = make_trainer(
            train_dataset=rows,
            reward_funcs=place_reward(lambda prompt: solved_places[order[prompt]]),
            **{"per_device_train_batch_size": 16, "max_steps": 12, "learning_rate": 0.0, **settings},
        )
        generations = record(trainer)
        trainer.train()
        by_prompt = [lengths_by_prompt(generation) for generation in generations]
        return [[of_step[prompt] for of_step in by_prompt] for prompt in rows["prompt"]]

    return run


def test_prefix_is_the_shorter_the_more_often_a_problem_is_solved_without_one(every_prompt_each_step):
    # The rollout at place 0 is the hybrid one, as long as there is one: that it is right says nothing about the policy
    solved = [{0}, {0, 1}, {1, 3}, {0, 1, 2, 3}]
    of_prompts = every_prompt_each_step(solved, prefix_ratio_schedule="adaptive")
    assert all(lengths[0] > 0 for lengths in of_prompts)  # nothing is known yet
    for rate, lengths in zip([0, 1 / 3, 2 / 3, 1], of_prompts, strict=True):
        longest = math.floor(0.95 * (1 - rate) * 32)
        assert 0.6 * longest <= max(lengths[1:]) <= longest
    assert not any(of_prompts[3][1:])


def test_reward_from_which_a_problem_counts_as_solved_can_be_set(make_trainer, record):
    runs = []
    for success_reward in (0.5, 1.0):
        trainer = make_trainer(
            train_dataset=lab.load_dataset("train", 2),
            reward_funcs=lambda completions, **kwargs: [0.6] * len(completions),
            prefix_ratio_schedule="adaptive",
            prefix_success_reward=success_reward,
        )
        generations = record(trainer)
        trainer.train()
        runs.append([any(generation.prefix_lengths) for generation in generations])
    assert runs == [[True, False], [True, True]]


@pytest.mark.parametrize(("solved", "second_has_prefixes"), [({1, 2, 3}, False), (set(), True)])
def test_prompt_that_is_new_is_treated_like_those_before_it(make_trainer, record, solved, second_has_prefixes):
    trainer = make_trainer(reward_funcs=place_reward(lambda prompt: solved), prefix_ratio_schedule="adaptive")
    generations = record(trainer)
    trainer.train()
    first, second = map(lengths_by_prompt, generations)
    assert not set(first) & set(second)
    assert all(first.values())
    assert [length > 0 for length in second.values()] == [second_has_prefixes] * 2


def test_only_prompts_that_failed_get_prefixes_and_lose_them_when_they_are_solved(make_trainer, record):
    rows = lab.load_dataset("train", 3)
    solved_from = dict(zip(rows["prompt"], (99, 0, 2), strict=True))

    def reward(prompts, trainer_state, **kwargs):
        step = trainer_state.global_step
        # The last of a group is on-policy. The hybrid rollout, the first, is right from step 1 on: that does not count
        return [
            float((step >= 1 and row % 4 == 0) or (step >= solved_from[prompt] and row % 4 == 3))
            for row, prompt in enumerate(prompts)
        ]

    trainer = make_trainer(
        train_dataset=rows, reward_funcs=reward, prefix_prompts="failed", per_device_train_batch_size=12, max_steps=5
    )
    generations = record(trainer)
    trainer.train()
    given = [lengths_by_prompt(generation) for generation in generations]
    assert [[of_step[prompt] > 0 for of_step in given] for prompt in rows["prompt"]] == [
        [False, True, True, True, True],
        [False, False, False, False, False],
        [False, True, True, False, False],
    ]
    shares = [entry["prefix/demonstration_share"] for entry in trainer.state.log_history if "loss" in entry]
    assert shares == pytest.approx([0, 2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_problems_of_messages_are_remembered(make_trainer, record, chat_model):
    rows = lab.load_dataset("train", 2)
    dataset = rows.remove_columns("prompt").add_column(
        "prompt", [[{"role": "user", "content": text}] for text in rows["prompt"]]
    )
    trainer = make_trainer(
        model=chat_model,
        train_dataset=dataset,
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        prefix_prompts="failed",
    )
    generations = record(trainer)
    trainer.train()
    assert [sum(length > 0 for length in generation.prefix_lengths) for generation in generations] == [0, 2]


@pytest.mark.parametrize("settings", [{}, {"restore_callback_states_from_checkpoint": True}], ids=str)
@pytest.mark.parametrize("follows", [{"prefix_ratio_schedule": "adaptive"}, {"prefix_prompts": "failed"}], ids=str)
def test_resumed_run_remembers_the_problems_of_the_first_part(make_trainer, record, tmp_path, follows, settings):
    rows = lab.load_dataset("train", 2)
    solved = dict(zip(rows["prompt"], [set(), {0, 1, 2, 3}], strict=True))
    settings = {
        # Within one epoch: TRL shuffles the next one otherwise when it is resumed at its start
        "train_dataset": concatenate_datasets([rows] * 4),
        "shuffle_dataset": False,
        "reward_funcs": place_reward(solved.get),
        "max_steps": 4,
        "save_strategy": "steps",
        "save_steps": 2,
        **follows,
        **settings,
    }
    whole = make_trainer(**settings)
    generations = record(whole)
    whole.train()
    resumed = make_trainer(**settings)
    generations_after = record(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    plans = [generation.prefix_lengths for generation in generations]
    # Both problems come in each step, and the one that failed alone has a prefix
    assert [[length > 0 for length in of_step[::4]] for of_step in plans[2:]] == [[True, False]] * 2
    assert [generation.prefix_lengths for generation in generations_after] == plans[2:]
    assert resumed._problems.state() == whole._problems.state()
    after = dict(resumed.model.named_parameters())
    for name, weight in whole.model.named_parameters():
        torch.testing.assert_close(after[name], weight, msg=lambda m, n=name: f"{n}: {m}")


def test_run_that_is_not_resumed_starts_without_any_memory(make_trainer):
    settings = {"prefix_prompts": "failed", "save_strategy": "steps", "save_steps": 1}
    make_trainer(**settings).train()
    trainer = make_trainer(**settings)
    assert trainer._problems.state()["attributes"] == {"last": {}, "best": {}}
