import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl import lab
from prefix_rft_trl.lab.task import answer, worked_solution


PROMPTS = st.tuples(
    st.sampled_from("0123456789"),
    st.lists(st.tuples(st.sampled_from("+-*"), st.sampled_from("0123456789")), min_size=1, max_size=7),
).map(lambda parts: parts[0] + "".join(operator + digit for operator, digit in parts[1]) + "=")


def left_to_right(prompt: str) -> int:
    expression = prompt[0]
    for operator, digit in re.findall(r"([+*-])(\d)", prompt):
        expression = f"(({expression}{operator}{digit})%10)"
    return eval(expression)


def test_the_documented_example_is_right():
    assert worked_solution("3+4*2-5=") == "3+4=7;7*2=4;4-5=9;#9"


@given(PROMPTS)
def test_a_demonstration_is_right_at_every_step(prompt):
    solution = worked_solution(prompt)
    for left, operator, right, result in re.findall(r"(\d)([+*-])(\d)=(\d);", solution):
        assert eval(f"({left}{operator}{right})%10") == int(result)
    assert solution.count(";") == len(prompt) // 2 - 1
    assert answer(prompt) == solution[-1] == str(left_to_right(prompt))


def test_no_problem_is_both_trained_on_and_held_out():
    train, test = lab.load_dataset("train"), lab.load_dataset("test")
    assert len(train) == len(test) == 512
    assert len(set(train["prompt"]) | set(test["prompt"])) == 1024


def test_a_smaller_split_is_the_start_of_a_larger_one():
    assert lab.load_dataset("train", 5)[:] == lab.load_dataset("train")[:5]


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'dev'.*train, test"):
        lab.load_dataset("dev")


@pytest.mark.parametrize(
    ("completion", "reward"),
    [("3+4=7;#7", 1.0), ("#7", 1.0), ("#8", 0.0), ("7", 0.0), ("#7#7", 0.0), ("#77", 0.0), ("", 0.0), ("##7", 0.0)],
)
def test_the_reward_takes_the_right_answer_after_exactly_one_mark(completion, reward):
    assert lab.exact_answer_reward([completion], solution=["7"]) == [reward]
