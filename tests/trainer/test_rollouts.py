import math
import re
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from prefix_rft_trl.method.prefixes import Assignment, tokens_within
from prefix_rft_trl.rollouts import cut_demonstration, plan_rollouts, scheduled_bounds
from prefix_rft_trl.run.success_history import SuccessHistory, problem_key
from prefix_rft_trl.stages.stage_rules import stage_assignment


SENTENCES = [f"Step {number} is done. " for number in range(5)]
NUM_GENERATIONS = 4


def settings(**named):
    defaults = {
        "seed": 0,
        "num_generations": NUM_GENERATIONS,
        "num_prefix_generations": 1,
        "demonstration_column": "completion",
        "prefix_shared_in_group": False,
        "prefix_prompts": "all",
        "prefix_prompt_share": 1.0,
        "gradient_accumulation_steps": 1,
        "steps_per_generation": 1,
        "num_iterations": 1,
        "generation_batch_size": 8,
        "prefix_ratio_schedule": "cosine",
        "prefix_ratio_distribution": "uniform",
        "prefix_ratio_high": 0.95,
        "prefix_ratio_low": 0.05,
        "prefix_ratio_decay_steps": None,
        "max_completion_length": 1000,
        "answer_column": "solution",
        "demonstration_source": "dataset",
        "prefix_exclude_answer": False,
        "prefix_placement": "completion",
    }
    given = defaults | named
    return SimpleNamespace(**given, gives_whole_demonstrations=given["prefix_ratio_schedule"] == "whole")


def problems(number):
    return [
        {"prompt": f"{problem}+1=", "completion": "".join(SENTENCES)}
        for problem in range(number)
        for _ in range(NUM_GENERATIONS)
    ]


def plan(args, examples, memory=None, step=0, max_steps=500, **where):
    bounds, place = scheduled_bounds(args, step, max_steps), {"first_row": 0, "rows_before": 0} | where
    return plan_rollouts(examples, args, memory or SuccessHistory(), step, bounds, **place)


def in_groups(assignments):
    return [assignments[start : start + NUM_GENERATIONS] for start in range(0, len(assignments), NUM_GENERATIONS)]


# One prefix for a group


def test_group_shares_a_prefix_and_groups_differ():
    examples = problems(50)
    for example_of_row in examples:
        example_of_row["completion"] = ["one. two. three. ", "four. five. six. "]
    args = settings(num_prefix_generations=4, prefix_shared_in_group=True)
    drawn = [
        [(of_row.demonstration["content"], of_row.ratio) for of_row in group]
        for group in in_groups(plan(args, examples, step=400))
    ]
    assert all(len(set(group)) == 1 for group in drawn)
    assert len({group[0] for group in drawn}) == 50
    assert len({group[0][0] for group in drawn}) == 2


@pytest.mark.parametrize("shared", [False, True])
def test_process_draws_what_one_process_draws_for_its_rows(shared):
    examples, args = problems(6), settings(num_prefix_generations=3, prefix_shared_in_group=shared)
    whole = plan(args, examples, step=3, rows_before=24)
    parts = [plan(args, examples[at : at + 6], step=3, first_row=at, rows_before=24) for at in range(0, 24, 6)]
    assert list(map(repr, whole)) == [repr(row) for part in parts for row in part]  # as text a NaN is itself


# Slices of sentences


def chi_squared(counts, expected):
    return sum((counts[k] - number) ** 2 / number for k, number in expected.items())


@pytest.mark.parametrize("step", [0, 75, 150, 299])
def test_number_of_slices_is_binomial(step):
    args = settings(prefix_ratio_distribution="binomial", prefix_ratio_decay_steps=300)
    text, counts = "".join(SENTENCES), Counter()
    ids = list(map(ord, text))
    for batch in range(10):
        for of_row in plan(args, problems(200), step=step, rows_before=800 * batch)[::NUM_GENERATIONS]:
            given_ids = [] if of_row.demonstration is None else cut_demonstration(ids, of_row, args, 0, text_of)
            counts[len(given_ids) // len(SENTENCES[0]) + (len(given_ids) == len(ids) - 1)] += 1
    p = 0.05 + 0.9 * (1 + math.cos(math.pi * step / 300)) / 2
    expected = {k: 2000 * math.comb(5, k) * p**k * (1 - p) ** (5 - k) for k in range(6)}
    assert sum(counts.values()) == 2000
    common = {k: number for k, number in expected.items() if number > 5}
    assert len(common) > 2
    assert chi_squared(counts, common) < 20.5  # one in a thousand with 5 degrees of freedom


# Prefixes that follow the problem


def test_failed_problem_gets_a_long_prefix_and_a_solved_one_none():
    memory = SuccessHistory()
    keys = [problem_key(f"{problem}+1=") for problem in range(4)]
    memory.remember(keys, [0.0, 0.5, 0.75, 1.0])
    args = settings(prefix_ratio_schedule="adaptive", num_prefix_generations=4)
    ratios = [[], [], [], []]
    for step in range(200):
        for problem, group in enumerate(in_groups(plan(args, problems(4), memory, step))):
            ratios[problem] += [of_row.ratio for of_row in group if of_row.demonstration]
    assert [len(of_problem) for of_problem in ratios] == [800, 800, 800, 0]
    for success, of_problem in zip([0.0, 0.5, 0.75], ratios, strict=False):
        high = 0.95 * (1 - success)
        assert 0.05 <= min(of_problem) < 0.08
        assert 0.97 * high < max(of_problem) <= high
        assert sum(of_problem) / 800 == pytest.approx((0.05 + high) / 2, rel=0.05)


def test_upper_bound_below_the_lower_one_lowers_it():
    memory = SuccessHistory()
    memory.remember([problem_key("0+1=")], [0.9])
    args = settings(prefix_ratio_schedule="adaptive", prefix_ratio_low=0.5)
    assert plan(args, problems(1), memory)[0].ratio == pytest.approx(0.095)


@pytest.mark.parametrize("schedule", ["cosine", "adaptive", "whole"])
def test_prompts_get_prefixes_after_they_failed_until_they_succeed(schedule):
    memory, args = SuccessHistory(), settings(prefix_prompts="failed", prefix_ratio_schedule=schedule)

    def hybrid():
        assignments = plan(args, problems(3), memory)
        assert [row.planned for row in assignments] == [True, False, False, False] * 3
        return [group[0].demonstration is not None for group in in_groups(assignments)]

    keys = [problem_key(f"{problem}+1=") for problem in range(3)]
    assert hybrid() == [False, False, False]
    memory.remember(keys[:2], [0.0, 0.0])
    assert hybrid() == [True, True, False]
    memory.remember(keys[1:], [0.25, 0.0])
    assert hybrid() == [True, False, True]
    memory.remember(keys[1:], [0.0, 1.0])
    assert hybrid() == [True, False, False]


# The cut


def text_of(ids):
    return "".join(map(chr, ids))


@given(words=st.lists(st.text("ab. \n", min_size=1, max_size=6), max_size=12), characters=st.integers(0, 80))
def test_tokens_within_are_as_many_as_fit(words, characters):
    def decode(ids):
        return "".join(words[place] for place in ids)

    found = tokens_within(list(range(len(words))), characters, decode)
    lengths = [len("".join(words[:number])) for number in range(len(words) + 1)]
    assert found == max(number for number, length in enumerate(lengths) if length <= characters)


@given(text=st.text("aé你👩‍🔬\n. ", max_size=30), characters=st.integers(0, 31))
@example(text="👩‍🔬a", characters=1)
def test_tokens_within_never_split_a_character(text, characters):
    of_bytes = list(text.encode())
    found = tokens_within(of_bytes, characters, lambda ids: bytes(ids).decode(errors="replace"))
    shown = bytes(of_bytes[:found]).decode()  # whole characters alone
    assert shown == text[:characters]


sentences = st.lists(
    st.tuples(st.text("abc .;", min_size=1, max_size=8), st.sampled_from([". ", "! ", "?\n", "; ", ";", "\n"])).map(
        "".join
    ),
    min_size=1,
    max_size=12,
)


@given(parts=sentences, row=st.integers(0, 99), budget=st.integers(2, 60))
def test_hint_ends_with_a_sentence_or_leaves_one_token_to_sample(parts, row, budget):
    text = "".join(parts)
    assume(len(text) > 1)
    args = settings(prefix_ratio_distribution="binomial", max_completion_length=budget)
    assignment = Assignment(True, ratio=0.6, key=(0, 0, row), in_slices=True)
    hint = text_of(cut_demonstration(list(map(ord, text)), assignment, args, 0, text_of))
    assert text.startswith(hint)
    assert len(hint) <= min(len(text), budget) - 1
    if len(hint) < min(len(text), budget) - 1:
        assert hint == "" or re.search(r"([.!?]\s+|[;\n]\s*)$", hint)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_stage_gives_its_share_of_a_demonstration_where_the_schedule_draws_slices(ratio):
    text, key = "".join(SENTENCES), (0, 1, 2)
    args = settings(prefix_ratio_distribution="binomial")
    stage = stage_assignment([{"content": text}], ratio, key, key, None)
    assert len(cut_demonstration(list(map(ord, text)), stage, args, 0, text_of)) == int(ratio * len(text))


@given(ids=st.lists(st.integers(2, 99), max_size=30), budget=st.integers(2, 40), ratio=st.floats(0, 1))
def test_complete_demonstration_has_its_end_of_sequence_or_is_left_out(ids, budget, ratio):
    args = settings(prefix_ratio_schedule="whole", max_completion_length=budget)
    found = cut_demonstration(ids, Assignment(True, ratio=ratio, is_whole=True), args, 1, text_of)
    assert found == ([*ids, 1] if 0 < len(ids) < budget else [])
    assert {scheduled_bounds(args, step, 500) for step in (0, 250, 500)} == {(1.0, 1.0)}


def test_stage_of_a_run_with_whole_demonstrations_cuts_them():
    args = settings(prefix_ratio_schedule="whole", prefix_stage_ratios=[0.5], max_completion_length=40)
    ids = list(range(2, 22))
    assert cut_demonstration(ids, Assignment(True, ratio=0.5), args, 1, text_of) == ids[:10]
    assert cut_demonstration(ids, Assignment(True, ratio=1.0, is_whole=True), args, 1, text_of) == [*ids, 1]
    planned = plan(args, problems(8))
    assert all(row.is_whole for row in planned if row.demonstration is not None)
