"""Trainings with stages, and beside them what they should have done, computed from what was scored."""

from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from prefix_rft_trl import lab
from prefix_rft_trl.lab.agent.calculator import calculate
from prefix_rft_trl.run.curve import grpo_tokens


def check_end(run, rows, passes):
    """The rows in the end are those that are trained on; `passes` are the calls after the first."""
    generation = run.generation
    assert len(run.calls) == passes + 1, "no completion is scored twice"
    assert generation.completion_ids == [row.ids for row in rows]
    assert [example["prompt"] for example in generation.inputs] == [row.prompt for row in rows]
    means = [sum(row.reward for row in group) / run.group for group in run.groups(rows)]
    expected = [row.reward - means[place // run.group] for place, row in enumerate(rows)]
    assert generation.outputs["advantages"].tolist() == pytest.approx(expected)
    assert run.logged("reward") == pytest.approx(sum(row.reward for row in rows) / len(rows))
    assert run.logged("completions/mean_length") == pytest.approx(sum(len(row.ids) for row in rows) / len(rows))
    lengths = generation.prefix_lengths
    assert run.logged("prefix/tokens") == pytest.approx(sum(lengths) / len(lengths))
    # Columns and figures of the reward function itself
    logs = run.trainer._logs
    assert list(logs["extra"]["said"]) == list(logs["completion"]) == [row.text for row in rows]
    last = {id(row): len(call) for call in run.calls for row in call}
    assert run.logged("rows_of_call") == pytest.approx(sum(last[id(row)] for row in rows) / len(rows))
    check_prompts(run)


def check_prompts(run):
    """What is trained on is, token by token, what the sampler was given and what it gave."""
    outputs, sampled = run.generation.outputs, [row for of_call in run.sampled for row in of_call]
    whole = [len(run.demonstration(example["prompt"])) + 1 for example in run.generation.inputs]
    for row, ids in enumerate(run.generation.completion_ids):
        prompt = outputs["prompt_ids"][row][outputs["prompt_mask"][row].bool()].tolist()
        if run.generation.prefix_lengths[row] < whole[row]:
            assert prompt + ids in sampled


def check_decoded(run, prefix_tokens):
    """Given the tokens that all rows of the calls started with."""
    assert (
        run.logged("sampling/decoded_tokens")
        == sum(len(row.ids) for call in run.calls for row in call) - prefix_tokens
    )


def test_ladder_that_replaces_groups(train_staged):
    """GHPO and BREAD: a group without a success is sampled again from a longer prefix, as a whole."""
    ratios = [0.25, 0.5, 0.75]
    run = train_staged(prefix_stage_ratios=ratios, seed=1)
    rows, calls, given, ever = list(run.calls[0]), iter(run.calls[1:]), 0, set()
    for ratio in ratios:
        failed = [group for group, of in enumerate(run.groups(rows)) if not any(row.reward for row in of)]
        again = next(calls)
        assert [row.prompt for row in again] == [rows[group * 4].prompt for group in failed for _ in range(4)]
        for row in again:
            prefix = run.prefix_of(row.prompt, ratio)
            assert row.text.startswith(prefix)
            given += len(prefix)
        for group, of in zip(failed, run.groups(again), strict=True):
            rows[group * 4 : group * 4 + 4] = of
        ever |= {*failed}
    check_end(run, rows, passes=3)
    check_decoded(run, given)
    assert 0 < len(failed) < len(ever) < 6, "some were solved at once, some by a stage, some never"
    assert run.logged("stages/extra_rollouts") == sum(map(len, run.calls[1:]))
    assert run.logged("stages/groups_resampled") == run.logged("stages/groups_replaced") == len(ever)
    assert all(len({*lengths}) == 1 for lengths in run.groups(run.generation.prefix_lengths))


def test_one_rollout_is_replaced(train_staged):
    """Scaf-GRPO: the first success behind the shortest help replaces the first row."""
    ratios = [0.2, 0.6, 1]
    run = train_staged(
        prefix_stage_ratios=ratios, prefix_stage_replaces="rollout", prefix_stage_generations=[2, 2, 1],
        prefix_stage_thresholds=[0.5, 0.5, 0.5], seed=1,
    )  # fmt: skip
    rows, given, replaced, resampled = list(run.calls[0]), 0, set(), set()
    for stage, (ratio, again) in enumerate(zip(ratios, run.calls[1:], strict=True)):
        number = [2, 2, 1][stage]
        failed = [group for group, of in enumerate(run.groups(rows)) if sum(row.reward for row in of) <= 2]
        failed = [group for group in failed if group not in replaced]  # one success of a stage is enough
        assert [row.prompt for row in again] == [rows[group * 4].prompt for group in failed for _ in range(number)]
        resampled |= {*failed}
        for place, group in enumerate(failed):
            of = again[place * number : (place + 1) * number]
            prefix = run.prefix_of(of[0].prompt, ratio)
            assert all(row.text.startswith(prefix) for row in of)
            given += number * (len(prefix) + (ratio == 1))
            if solved := [row for row in of if row.reward]:
                rows[group * 4] = solved[0]
                replaced.add(group)
    check_end(run, rows, passes=3)
    check_decoded(run, given)
    assert 0 < len(replaced) < len(resampled)
    assert run.logged("stages/groups_replaced") == len(replaced)
    assert run.logged("stages/groups_resampled") == len(resampled)
    assert run.logged("stages/extra_rollouts") == sum(map(len, run.calls[1:]))
    assert [bool(length) for length in run.generation.prefix_lengths] == [
        place % 4 == 0 and place // 4 in replaced for place in range(24)
    ]


def test_groups_divided_over_passes(train_staged):
    """TRAPO: 4, 2, 1 and 1 rows of a group, which start from a demonstration if too few before them succeeded."""
    generations, ratios, most = [2, 1, 1], [0.25, 0.5, 1], [0.24, 0.4, 0.2]
    run = train_staged(
        num_generations=8, per_device_train_batch_size=32, prefix_stage_replaces="none", seed=2,
        prefix_stage_ratios=ratios, prefix_stage_generations=generations, prefix_stage_thresholds=most,
    )  # fmt: skip
    groups, given, guided = [run.calls[0][first : first + 4] for first in range(0, 16, 4)], 0, []
    for call, ratio, number, threshold in zip(run.calls[1:], ratios, generations, most, strict=True):
        for group, of in enumerate(groups):
            new = call[group * number : (group + 1) * number]
            is_guided = sum(row.reward for row in of) / len(of) <= threshold
            guided.append(is_guided)
            for row in new:
                assert row.prompt == of[0].prompt
                prefix = run.prefix_of(row.prompt, ratio) if is_guided else ""
                assert row.text.startswith(prefix)
                given += len(prefix) + (is_guided and ratio == 1)
            of.extend(new)
    rows = [row for of in groups for row in of]
    check_end(run, rows, passes=3)
    check_decoded(run, given)
    assert {*guided[:4]} == {*guided[8:]} == {True, False}
    assert run.logged("stages/extra_rollouts") == run.logged("stages/groups_replaced") == 0
    assert [len(call) for call in run.calls] == [16, 8, 4, 4]


def test_other_problems_for_groups_of_one_reward(train_staged):
    """DAPO's dynamic sampling, with a bound: the lowest groups first."""
    run = train_staged(
        prefix_stage_ratios=[0, 0, 0], prefix_stage_groups="equal", prefix_stage_prompts="other",
        prefix_stage_max_rollouts=12, train_dataset=lab.load_dataset("train", 64), temperature=1.2, seed=4,
    )  # fmt: skip
    rows, extra, drawn = list(run.calls[0]), 0, []
    for again in run.calls[1:]:
        equal = [group for group, of in enumerate(run.groups(rows)) if len({row.reward for row in of}) == 1]
        equal = equal[: (12 - extra) // 4]
        extra += len(again)
        for group, of in zip(equal, run.groups(again), strict=True):
            assert len({row.prompt for row in of}) == 1
            drawn.append((rows[group * 4].prompt, of[0].prompt))
            rows[group * 4 : group * 4 + 4] = of
    check_end(run, rows, len(run.calls) - 1)
    check_decoded(run, 0)
    assert extra == run.logged("stages/extra_rollouts") == 12
    assert len(run.calls) > 2
    assert all(old != new for old, new in drawn)
    solutions = {row["prompt"]: row["solution"] for row in run.trainer.train_dataset}
    assert all(example["solution"] == solutions[example["prompt"]] for example in run.generation.inputs)


def test_hybrid_rollouts_and_stages(train_staged):
    """Rows of the first pass may start from a prefix too; a group that a stage replaces has one for all."""
    run = train_staged(prefix_stage_ratios=[0.5], num_prefix_generations=1, prefix_selection="top_entropy")
    lengths = run.groups(run.generation.prefix_lengths)
    failed = [not any(row.reward for row in of) for of in run.groups(run.calls[0])]
    assert {*failed} == {True, False}
    for is_failed, of in zip(failed, lengths, strict=True):
        assert [length > 0 for length in of] == ([True] * 4 if is_failed else [True, *[False] * 3])


def test_problem_without_a_demonstration_is_not_sampled_again(train_staged):
    rows = lab.load_dataset("train", 6).to_dict()
    rows["completion"] = [None, *rows["completion"][1:]]
    dataset = Dataset.from_dict(rows)
    all_fail = {"train_dataset": dataset, "prefix_success_reward": 2}
    from_prefix, plainly = (train_staged(prefix_stage_ratios=[ratio], **all_fail) for ratio in (0.5, 0))
    assert {row.prompt for row in from_prefix.calls[1]} == {*rows["prompt"][1:]}
    assert {row.prompt for row in plainly.calls[1]} == {*rows["prompt"]}


def test_stage_that_no_group_needs_is_left_out(train_staged):
    run = train_staged(prefix_stage_ratios=[0.5, 0.5], prefix_success_reward=0)
    assert len(run.calls) == len(run.sampled) == 1
    assert run.logged("stages/groups_resampled") == 0
    assert run.logged("sampling/decoded_tokens") == sum(map(len, run.generation.completion_ids))


CONTINUOUS_BATCHING = {
    "use_transformers_continuous_batching": True,
    "transformers_continuous_batching_config": {"num_blocks": 64, "max_batch_tokens": 64},
}


@pytest.mark.parametrize("engine", [{}, CONTINUOUS_BATCHING], ids=["generate", "continuous batching"])
@pytest.mark.parametrize("place", ["completion", "prompt"])
def test_every_sampled_token_is_what_the_policy_says_next(train_staged, place, engine):
    """So the first update has ratio 1 under the prompt that is trained on. In GHPO's code a group that a stage has
    solved is trained behind its plain prompt if another group still fails."""
    if engine and place == "prompt":
        pytest.skip("places do not depend on engines")
    run = train_staged(
        prefix_stage_ratios=[0.25, 0.6], learning_rate=0.0, generation_kwargs={"do_sample": False},
        prefix_placement=place, prefix_selection="top_entropy", **engine,
    )  # fmt: skip
    outputs, given = run.generation.outputs, []
    rows = zip(run.generation.inputs, run.generation.completion_ids, run.generation.prefix_lengths, strict=True)
    for row, (example, ids, length) in enumerate(rows):
        prompt = outputs["prompt_ids"][row][outputs["prompt_mask"][row].bool()].tolist()
        logits = run.trainer.model(torch.tensor([prompt + ids])).logits[0]
        assert ids[length:] == logits.argmax(-1)[len(prompt) + length - 1 : -1].tolist()
        added = len(prompt) - len(run.trainer._tokenizer(example["prompt"])["input_ids"])
        given.append((length + added) / len(example["completion"]))
    shares = {round(share, 1) for share in given}
    assert len(run.calls) == 3
    assert len(shares) >= 3, "groups were left as they were, and replaced by either stage"


def test_curve_counts_what_stages_decode():
    args = SimpleNamespace(
        gradient_accumulation_steps=1, steps_per_generation=1, num_iterations=1, per_device_train_batch_size=8,
        world_size=2, generation_batch_size=16,
    )  # fmt: skip
    logs = {"completions/mean_length": 10.0, "prefix/tokens": 4.0, "prefix/trained_tokens": 1.0}
    before = {"step": 3, "generated_tokens": 5.0, "trained_tokens": 7.0}
    assert grpo_tokens(args)(logs, before, 5) == (5 + 6 * 32, 7 + 7 * 32)
    assert grpo_tokens(args)({**logs, "sampling/decoded_tokens": 300.0}, before, 5) == (5 + 300 * 2, 7 + 7 * 32)


@pytest.mark.parametrize(
    ("others", "settings", "says"),
    [
        ({"rollout_func": print}, {"prefix_stage_ratios": [0]}, "`rollout_func` takes over generation, so no group"),
        ({"tools": [calculate]}, {"prefix_stage_ratios": [0]}, "`tools` have run when a group is judged, so"),
        (
            {},
            {
                "prefix_stage_ratios": [0], "prefix_stage_prompts": "other",
                "train_dataset": lab.load_dataset("train", 16).to_iterable_dataset(),
            },
            "which a streamed dataset does not have",
        ),
    ],
)  # fmt: skip
def test_arguments_that_leave_no_stages(make_trainer, others, settings, says):
    with pytest.raises(ValueError, match=says):
        make_trainer(num_prefix_generations=0, others=others, **settings)


def test_evaluation_has_no_stages(make_trainer):
    calls = []

    def judge(completions, **others):
        calls.append(len(completions))
        return [0.0] * len(completions)

    trainer = make_trainer(
        reward_funcs=judge, prefix_stage_ratios=[0.5], num_prefix_generations=0, per_device_eval_batch_size=4,
        others={"eval_dataset": lab.load_dataset("test", 2)},
    )  # fmt: skip
    assert "eval_reward" in trainer.evaluate()
    assert calls == [4, 4]
    trainer.train()
    assert calls[2:] == [8, 8, 8, 8]
