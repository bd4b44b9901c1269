"""OpenR1-Math in both of its published forms."""

import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.convert.sources.openr1_math import openr1_math


SOLUTION_OF_R1 = "<think>\nAdding them.\n</think>\n\nThe sum is \\boxed{5}."
SUBSET = {
    "data_source": "openr1",
    "prompt": [
        {"content": "Your task is to think.", "role": "system"},
        {"content": "What is 2+3?", "role": "user"},
    ],
    "target": [{"content": SOLUTION_OF_R1, "role": "assistant"}],
    "ability": "math",
    "reward_model": {"ground_truth": "5", "style": "rule"},
    "extra_info": {"index": 0, "split": "default"},
}
COMPLETE = {
    "problem": "What is 2+3?",
    "solution": "Five.",
    "answer": "5",
    "problem_type": "Algebra",
    "source": "olympiads",
    "is_reasoning_complete": [True, True, False, True],
    "generations": ["first", "second", "third", "fourth"],
    "correctness_math_verify": [True, False, True, True],
    "correctness_llama": None,
    "finish_reasons": None,
    "messages": [{"role": "user", "content": "What is 2+3?"}, {"role": "assistant", "content": "first"}],
}


def read(row, changes=None, **options):
    return openr1_math(list(row), **options).read({**row, **(changes or {})})


def test_the_subset_gives_the_problem_alone_its_solution_and_the_answer():
    problem = read(SUBSET)
    assert problem.prompt == "What is 2+3?", "without the system message, as in the paper"
    assert (problem.demonstrations, problem.solution) == ((SOLUTION_OF_R1,), "5")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"target": []}, "no solution of DeepSeek-R1"), ({"target": None}, "no solution of DeepSeek-R1"),
     ({"reward_model": {"ground_truth": "", "style": "rule"}}, "no answer"), ({"reward_model": None}, "no answer"),
     ({"prompt": [{"content": " ", "role": "user"}]}, "no problem"), ({"prompt": []}, "no problem")],
)  # fmt: skip
def test_an_incomplete_row_of_the_subset_says_what_is_missing(changes, reason):
    with pytest.raises(Unusable, match=f"^{reason}"):
        read(SUBSET, changes)


def test_only_correct_and_complete_generations_are_taken():
    problem = read(COMPLETE)
    assert problem.demonstrations == ("first", "fourth")
    assert problem.left_out == ("not marked correct", "cut off")


def test_a_generation_that_reached_the_limit_is_left_out():
    changes = {"finish_reasons": ["stop", "stop", "stop", "length"]}
    assert read(COMPLETE, changes).demonstrations == ("first",)


def test_generations_that_only_llama_marked_are_taken_on_request():
    judged = {"correctness_llama": [False, True, False, False], "correctness_math_verify": [False, False, False, True]}
    assert read(COMPLETE, judged).demonstrations == ("fourth",)
    assert read(COMPLETE, judged, llama_marks=True).demonstrations == ("second", "fourth")


@pytest.mark.parametrize(
    "changes",
    [{"correctness_math_verify": [False] * 4}, {"correctness_math_verify": None}, {"correctness_math_verify": []},
     {"is_reasoning_complete": [False] * 4}, {"generations": []}, {"generations": None},
     {"generations": ["", None, " ", ""]}],
)  # fmt: skip
def test_a_problem_without_a_correct_generation_is_unusable(changes):
    with pytest.raises(Unusable, match="no generation that is marked correct and complete"):
        read(COMPLETE, changes)


def test_other_columns_name_both_forms():
    with pytest.raises(ValueError, match=r"target.*46k.*generations.*220k.*it has: question, answer"):
        openr1_math(["question", "answer"])


def test_long_columns_that_are_not_needed_are_not_loaded():
    assert "messages" not in openr1_math(list(COMPLETE)).columns
