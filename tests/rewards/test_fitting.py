"""The reward that fits a dataset is the one that finds its demonstrations right."""

import pytest

from prefix_rft_trl.rewards.fitting import FittingReward, choose_reward


NUMBERS = ["1", "2", "3", "4"]
BOXED = [f"It is \\boxed{{{number}}}." for number in NUMBERS]


@pytest.mark.parametrize(
    ("demonstrations", "columns", "found"),
    [
        (BOXED, {}, FittingReward("math_accuracy_reward", 4, 4)),
        ([*BOXED[:2], "I do not know.", "It is 4."], {}, FittingReward("math_accuracy_reward", 2, 4)),
        ([*BOXED[:1], *["I do not know."] * 3], {}, None),
        # The same for both: Math-Verify's, which reads more forms
        ([f"#### {number}" for number in NUMBERS], {"answer": NUMBERS}, FittingReward("math_accuracy_reward", 4, 4)),
        ([f"so {number}" for number in NUMBERS], {"answer": NUMBERS}, FittingReward("gsm8k_final_number", 4, 4)),
        ([f"so {number}" for number in NUMBERS], {"answer": [1, 2, 3, 4]}, None),
        ([f"so {number}" for number in NUMBERS], {}, None),
        ([f"1+1=2;#{number}" for number in NUMBERS], {"solution": NUMBERS}, FittingReward("lab_exact_answer", 4, 4)),
    ],
)
def test_most_demonstrations_have_to_be_right(demonstrations, columns, found):
    assert choose_reward(demonstrations, NUMBERS, columns) == found
