import re

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.lab.real import sums
from prefix_rft_trl.rewards.registry import answer_finder, load_reward


EXAMPLE = "<|im_start|>user\nWhat is 47 + 38 + 15?<|im_end|>\n<|im_start|>assistant\n"


def operands(prompt: str) -> list[int]:
    shown = re.fullmatch(r"<\|im_start\|>user\nWhat is (.+)\?<\|im_end\|>\n<\|im_start\|>assistant\n", prompt)
    return [int(number) for number in shown[1].split(" + ")]


def test_the_documented_demonstrations_are_those_of_the_styles():
    results = sums.step_results(EXAMPLE)
    assert sums.STYLES["worked"](EXAMPLE, results) == "47 + 38 = 85. 85 + 15 = 100. The answer is 100."
    assert sums.STYLES["brief"](EXAMPLE, results) == "47 + 38 + 15 = 100. The answer is 100."


def test_no_sum_is_in_two_splits_and_each_is_right():
    splits = [lab.load_dataset(split, level="sums") for split in ("train", "test", "demonstrations")]
    assert len({prompt for rows in splits for prompt in rows["prompt"]}) == 3 * 512
    for row in splits[0]:
        numbers = operands(row["prompt"])
        assert len(numbers) == 3
        assert all(10 <= number < 100 for number in numbers)
        assert row["solution"] == str(sum(numbers))


@pytest.mark.parametrize("style", ["worked", "brief"])
def test_every_equation_of_a_demonstration_holds(style):
    for row in lab.load_dataset("train", level="sums", style=style, size=64):
        *equations, stated, end = re.split(r"\. ?", row["completion"])
        for equation in equations:
            left, right = equation.split(" = ")
            assert eval(left) == int(right)
        assert (stated, end) == (f"The answer is {row['solution']}", "")
        assert len(equations) == (2 if style == "worked" else 1)


def test_a_corrupted_demonstration_has_one_wrong_equation_and_the_wrong_answer():
    for row in lab.load_dataset("train", level="sums", corrupted_share=1.0, size=64):
        equations = [equation.split(" = ") for equation in re.split(r"\. ", row["completion"])[:-1]]
        assert sum(eval(left) != int(right) for left, right in equations) == 1
        assert sums.final_number(row["completion"]) != row["solution"]


@pytest.mark.parametrize(
    ("completion", "reward"),
    [
        ("47 + 38 = 85. 85 + 15 = 100. The answer is 100.", 1),
        ("It is 100", 1),
        ("100. The answer is 101.", 0),
        ("1000", 0),
        ("The answer is 0100.", 1),
        ("1" * 5000, 0),  # Python reads no integer of so many digits
        ("I do not know.", 0),
        ("", 0),
    ],
)
def test_the_last_number_is_rewarded(completion, reward):
    assert load_reward("lab_final_number")(completions=[completion], solution=["100"]) == [reward]


def test_the_reward_says_which_answer_it_judges():
    find = answer_finder(load_reward("lab_final_number"))
    assert find("85. The answer is 100.") == "100"
    assert find("none") is None


def test_a_style_that_sums_do_not_have_is_refused():
    with pytest.raises(ValueError, match=r"'sums' has no style 'swapped'\. It has: worked, brief"):
        load_splits("lab", settings={"lab_level": "sums", "lab_style": "swapped"})
