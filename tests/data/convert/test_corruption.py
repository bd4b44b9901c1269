"""Demonstrations with a slip: consistent to the end, and wrong for sure."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.convert.corruption import confirm_wrong, corrupt


WORKED = (
    "There are 24 boys and 48 pencils.\n48/2 = 24 pencils are blue.\n48+24 = 72 pencils in all, so 72.\n\\boxed{72}"
)


def corrupted(text, *golds, seed=0):
    return corrupt(text, golds, np.random.default_rng(seed))


def boxed(text):
    return re.findall(r"\\boxed\{(.*)\}", text)[-1]


@pytest.mark.parametrize("seed", range(20))
def test_a_slip_is_carried_into_the_answer(seed):
    found = corrupted(WORKED, "72", seed=seed)
    wrong = boxed(found.text)
    assert found.answer == wrong != "72"
    assert found.is_certain
    first, second, third, _ = found.text.split("\n")
    assert [first, second] == WORKED.split("\n")[:2], "what comes before the slip stays"
    assert third == f"48+24 = {wrong} pencils in all, so {wrong}."


@given(
    st.decimals(0, 10**9, places=2) | st.integers(0, 10**9),
    st.booleans(),
    st.sampled_from([r"\boxed{%s}", "#### %s", "The answer is %s", "**Answer:** $%s$"]),
    st.integers(0, 2**32),
)
def test_a_corrupted_number_is_never_the_right_one(value, separators, statement, seed):
    written = f"{value:,}" if separators else str(value)
    found = corrupted(f"so we get x.\n{statement % written}", str(value), seed=seed)
    assert found.is_certain
    assert float(found.answer.replace(",", "")) != float(value)
    assert found.answer in found.text
    assert ("," in found.answer) == (separators and float(found.answer.replace(",", "")) >= 1000 and value >= 1000)
    assert ("." in found.answer) == ("." in written)


@given(st.text(max_size=60), st.text(max_size=12), st.integers(0, 100))
def test_any_text_gives_a_wrong_answer_or_none(working, answer, seed):
    found = corrupted(f"{working}\n\\boxed{{{answer}}}", answer, seed=seed)
    assert found is None or found.answer not in (answer, answer.strip())


@pytest.mark.parametrize("form", ["{}", "{}.0", "${}$"])
def test_an_answer_that_another_gold_allows_is_not_taken(form):
    golds = [form.format(number) for number in range(1, 6)]
    for seed in range(30):
        found = corrupted(r"\boxed{3}", *golds, seed=seed)
        assert found is None or int(found.answer) > 5


@pytest.mark.parametrize("answer", ["B", "(B)", r"\text{B}", r"\text{(B)}"])
def test_a_choice_becomes_another_choice(answer):
    found = corrupted(rf"It is \boxed{{{answer}}}", answer)
    assert found.answer != answer
    assert re.sub("[ACDE]", "B", found.answer) == answer
    assert found.is_certain


@pytest.mark.parametrize(
    ("answer", "working"),
    [(r"\frac{3}{4}", r"$x=\frac{3}{4}$"), ("x^2+3x", "f(x) = x^2+3x"), ("12 apples", "= 12 apples")],
)
def test_a_slip_in_a_formula_is_left_to_the_verifier(answer, working):
    found = corrupted(rf"{working}, so \boxed{{{answer}}}", answer)
    assert not found.is_certain
    assert found.text.count(found.answer) == 2
    assert answer not in found.text


def test_a_gold_in_another_notation_is_left_to_the_verifier():
    assert not corrupted(r"\boxed{4}", r"\frac{8}{2}").is_certain


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("No answer.", "yes"),
        (r"\boxed{\text{yes}}", "yes"),
        (r"\boxed{\frac12}", "yes"),
        (r"\boxed{x}", "yes"),
        ("", "yes"),
        ("The answer is5", "5"),
    ],
)
def test_without_a_number_or_a_choice_that_can_be_changed_there_is_no_corruption(text, gold):
    assert corrupted(text, gold) is None


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("Of 2 boxes, 5-3 = @ are full: x^2, 2 pens.\n\\boxed{@}", "2"),
        ("Of 72 eggs 48 hatch. 72-48 = 24 and 24*3 = @, again @.\n\\boxed{@}", "72"),
        ("15 + 10 = @, not 125, 2.25, 25.5 or 1,250.\n\\boxed{@}", "25"),
        ("<think>7*11 = @. So @.</think>It is \\boxed{@}.", "77"),
    ],
    ids=["a single digit", "a given number", "a longer number", "thinking"],
)
def test_numbers_change_only_where_they_are_the_answer(text, gold):
    found = corrupted(text.replace("@", gold), gold)
    assert found.text == text.replace("@", found.answer)


@pytest.mark.parametrize("answer", ["1" + ",111" * 1500, "1, " * 400])
def test_a_very_long_answer_is_not_corrupted(answer):
    assert corrupted(rf"So we get \boxed{{{answer}}}", "7") is None


def test_the_same_draw_gives_the_same_corruption():
    assert corrupted(WORKED, "72", seed=5) == corrupted(WORKED, "72", seed=5)
    assert len({corrupted(WORKED, "72", seed=seed).answer for seed in range(20)}) > 5


def test_an_equal_answer_in_another_notation_is_not_confirmed_wrong():
    answers = [r"\frac{0}{7}", r"\frac{5}{4}", "12", r"\text{even}"]
    golds = [["0"], [r"\frac{3}{4}"], ["11", "12"], [r"\text{odd}"]]
    assert confirm_wrong(answers, golds) == [False, True, False, True]


def test_without_answers_no_verifier_is_started(monkeypatch):
    monkeypatch.setitem(sys.modules, "prefix_rft_trl.rewards.verification.verifier", None)
    assert confirm_wrong([], []) == []
