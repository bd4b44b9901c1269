"""Forms of an answer that prompts ask for, and that demonstrations have."""

import pytest

from prefix_rft_trl.data.answer_forms import FORMS, asked_forms, ends_otherwise, name_forms, stated_forms
from prefix_rft_trl.data.prompts import BOX_INSTRUCTION, MARK_INSTRUCTION


BOX, MARK, TAGS, PHRASE = (form.name for form in FORMS)


@pytest.mark.parametrize(
    ("prompt", "forms"),
    [
        (f"1+1?\n{BOX_INSTRUCTION}.", {BOX}),
        (f"1+1?\n{MARK_INSTRUCTION}", {MARK}),
        ("1+1? Box it.", {BOX}),
        ("Give the final answer in a box.", {BOX}),
        ("请把最终答案放在 \\boxed{} 中。", {BOX}),
        ("End your solution with:\n#### 42", {MARK}),
        ("Write <answer>42</answer> at the end.", {TAGS}),
        ('Finish with "The answer is 42."', {PHRASE}),
        ("Conclude with: the answer is 42.", {PHRASE}),
        (r"Answer after #### or in \boxed{}.", {MARK, BOX}),
        ([{"role": "system", "content": r"Use \boxed{}."}, {"role": "user", "content": "1+1?"}], {BOX}),
        ([{"role": "user", "content": [{"type": "text", "text": r"1+1? Use \boxed{}."}]}], {BOX}),
        ([{"role": "assistant", "content": r"\boxed{3}"}, {"role": "user", "content": "1+1?"}], set()),
        ("How many boxes fit in a box? If the answer is even, halve it.", set()),
        ("A boxed set of 3 books costs 12. What is the answer?", set()),
        ("#### Problem\n1+1?\n\n#### Answer:", set()),
        ("Question: 1+1?\nAnswer:", set()),
    ],
)
def test_what_a_prompt_asks_for(prompt, forms):
    assert asked_forms(prompt) == forms


@pytest.mark.parametrize(
    ("demonstration", "forms"),
    [
        (r"So \boxed{42}.", {BOX}),
        (r"So \boxed 4", {BOX}),
        ("So 42.\n#### 42\n", {MARK}),
        ("So 42.\n####\n42", {MARK}),
        ("<answer>42</answer>", {TAGS}),
        ("**Answer:** 42", {PHRASE}),
        ("So \\boxed{42}.\nThe answer is 42.", {BOX, PHRASE}),
        ("<think>\\boxed{3}?</think>The answer is 42.", {PHRASE}),
        ("#### Step 1\nAdd.\n#### Step 2\nCarry.\nSo it is 42.\nDone.", set()),
        (r"Now put it in \boxed{}", set()),
        ("", set()),
    ],
)
def test_what_a_demonstration_has(demonstration, forms):
    assert stated_forms(demonstration) == forms


def test_one_of_the_forms_asked_for_is_enough_and_without_a_request_any_end_is_right():
    assert ends_otherwise({BOX}, "#### 42")
    assert not ends_otherwise({BOX, MARK}, "#### 42")
    assert not ends_otherwise(set(), "42")
    assert name_forms({MARK, BOX}) == r"\boxed{} or ####"
