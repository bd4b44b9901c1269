"""Prefixes that follow each problem's own success, on the real path, and through a checkpoint."""

import math

import pytest
from datasets import concatenate_datasets

from prefix_rft_trl import lab


def place_reward(solved_places):
    """Rewards 1 at the places of a group that `solved_places` gives for its prompt, else 0."""

    def reward(prompts, **kwargs):
        return [float(row % 4 in solved_places(prompt)) for row, prompt in enumerate(prompts)]

    return reward


def lengths_by_prompt(generation):
    """The prefix length of each prompt's hybrid rollout, the first of its group."""
    rows = zip(generation.inputs[::4], generation.prefix_lengths[::4], strict=True)
    return {row["prompt"]: length for row, length in rows}


def test_prefix_is_the_shorter_the_more_often_a_problem_is_solved_without_one(train):
    # The rollout at place 0 is the hybrid one, as long as there is one: that it is right says nothing about the policy
    rows = lab.load_dataset("train", 4)
    solved = dict(zip(rows["prompt"], [{0}, {0, 1}, {1, 3}, {0, 1, 2, 3}], strict=True))
    run = train(
        train_dataset=rows,
        reward_funcs=place_reward(solved.get),
        prefix_ratio_schedule="adaptive",
        per_device_train_batch_size=16,  # every step sees all four
        max_steps=12,
        learning_rate=0.0,
    )
    steps = list(map(lengths_by_prompt, run.generations))
    for rate, prompt in zip([0, 1 / 3, 2 / 3, 1], rows["prompt"], strict=True):
        first, *others = [step[prompt] for step in steps]
        longest = math.floor(0.95 * (1 - rate) * 32)
        assert first > 0  # nothing is known yet
        assert 0.6 * longest <= max(others) <= longest


@pytest.mark.parametrize(("success_reward", "has_prefixes"), [(0.5, [True, False]), (1.0, [True, True])])
def test_reward_that_counts_as_success_can_be_set(train, success_reward, has_prefixes):
    run = train(
        train_dataset=lab.load_dataset("train", 2),
        reward_funcs=lambda completions, **kwargs: [0.6] * len(completions),
        prefix_ratio_schedule="adaptive",
        prefix_success_reward=success_reward,
    )
    assert [any(generation.prefix_lengths) for generation in run.generations] == has_prefixes


def test_problems_of_messages_are_remembered(train, lab_rows, as_message, chat_model):
    run = train(
        model=chat_model,
        train_dataset=lab_rows(2, prompt=as_message("user")),
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        prefix_prompts="failed",
    )
    assert [sum(length > 0 for length in generation.prefix_lengths) for generation in run.generations] == [0, 2]


@pytest.mark.parametrize("settings", [{}, {"restore_callback_states_from_checkpoint": True}], ids=str)
@pytest.mark.parametrize("follows", [{"prefix_ratio_schedule": "adaptive"}, {"prefix_prompts": "failed"}], ids=str)
def test_resumed_run_remembers_the_problems_of_the_first_part(train_and_resume, follows, settings):
    rows = lab.load_dataset("train", 2)
    solved = dict(zip(rows["prompt"], [set(), {0, 1, 2, 3}], strict=True))
    unbroken, resumed = train_and_resume(
        # Within one epoch: TRL shuffles the next one otherwise when it is resumed at its start
        train_dataset=concatenate_datasets([rows] * 4),
        shuffle_dataset=False,
        reward_funcs=place_reward(solved.get),
        **follows,
        **settings,
    )
    plans = [generation.prefix_lengths for generation in unbroken.generations]
    # Both problems come in each step, and the one that failed alone has a prefix
    assert [[length > 0 for length in plan[::4]] for plan in plans[2:]] == [[True, False]] * 2
    assert [generation.prefix_lengths for generation in resumed.generations] == plans[2:]
    assert resumed.trainer._success_history.state() == unbroken.trainer._success_history.state()


def test_new_run_in_an_old_folder_remembers_nothing(train, make_trainer):
    settings = {"prefix_prompts": "failed", "save_strategy": "steps", "save_steps": 1}
    train(**settings)
    assert make_trainer(**settings)._success_history.state()["attributes"] == {"last": {}, "best": {}}
