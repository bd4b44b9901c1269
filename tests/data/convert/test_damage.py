import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.convert.corruption import damage


WORKED = (
    "There are 24 boys and 48 pencils.\n48/2 = 24 pencils are blue.\n48+24 = 72 pencils in all, so 72.\n\\boxed{72}"
)


def damaged(text, *golds, seed=0):
    return damage(text, golds, np.random.default_rng(seed))


def boxed(text):
    return re.findall(r"\\boxed\{(.*)\}", text)[-1]


@pytest.mark.parametrize("seed", range(20))
def test_a_slip_is_carried_into_the_answer(seed):
    found = damaged(WORKED, "72", seed=seed)
    wrong = boxed(found.text)
    assert found.answer == wrong != "72"
    assert found.certain
    first, second, third, _ = found.text.split("\n")
    assert [first, second] == WORKED.split("\n")[:2], "what comes before the slip stays"
    assert third == f"48+24 = {wrong} pencils in all, so {wrong}."


@given(
    st.decimals(0, 10**9, places=2) | st.integers(0, 10**9),
    st.booleans(),
    st.sampled_from([r"\boxed{%s}", "#### %s", "The answer is %s", "**Answer:** $%s$"]),
    st.integers(0, 2**32),
)
def test_a_damaged_number_is_never_the_right_one(value, separators, statement, seed):
    written = f"{value:,}" if separators else str(value)
    found = damaged(f"so we get x.\n{statement % written}", str(value), seed=seed)
    assert found.certain
    assert float(found.answer.replace(",", "")) != float(value)
    assert found.answer in found.text
    assert ("," in found.answer) == (separators and float(found.answer.replace(",", "")) >= 1000 and value >= 1000)
    assert ("." in found.answer) == ("." in written)


@given(st.text(max_size=60), st.text(max_size=12), st.integers(0, 100))
def test_any_text_gives_a_wrong_answer_or_none(working, answer, seed):
    found = damaged(f"{working}\n\\boxed{{{answer}}}", answer, seed=seed)
    assert found is None or found.answer not in (answer, answer.strip())


@pytest.mark.parametrize("form", ["{}", "{}.0", "${}$"])
def test_an_answer_that_another_gold_allows_is_no_damage(form):
    golds = [form.format(number) for number in range(1, 6)]
    for seed in range(30):
        found = damaged(r"\boxed{3}", *golds, seed=seed)
        assert found is None or int(found.answer) > 5


@pytest.mark.parametrize("answer", ["B", "(B)", r"\text{B}", r"\text{(B)}"])
def test_a_choice_becomes_another_choice(answer):
    found = damaged(rf"It is \boxed{{{answer}}}", answer)
    assert found.answer != answer
    assert re.sub("[ACDE]", "B", found.answer) == answer
    assert found.certain


@pytest.mark.parametrize(
    ("answer", "working"),
    [(r"\frac{3}{4}", r"$x=\frac{3}{4}$"), ("x^2+3x", "f(x) = x^2+3x"), ("12 apples", "= 12 apples")],
)
def test_a_slip_in_a_formula_is_left_to_the_verifier(answer, working):
    found = damaged(rf"{working}, so \boxed{{{answer}}}", answer)
    assert not found.certain
    assert found.text.count(found.answer) == 2
    assert answer not in found.text


def test_a_right_answer_that_is_written_differently_is_left_to_the_verifier():
    assert not damaged(r"\boxed{4}", r"\frac{8}{2}").certain


@pytest.mark.parametrize("text", ["No answer.", r"\boxed{\text{yes}}", r"\boxed{\frac12}", r"\boxed{x}", ""])
def test_without_a_number_or_a_choice_there_is_no_damage(text):
    assert damaged(text, "yes") is None


def test_a_single_digit_is_changed_only_where_it_is_the_answer():
    found = damaged("Of 2 boxes, 5-3 = 2 are full: x^2, 2 pens.\n\\boxed{2}", "2")
    assert found.text == f"Of 2 boxes, 5-3 = {found.answer} are full: x^2, 2 pens.\n\\boxed{{{found.answer}}}"


def test_a_number_that_is_given_stays_though_it_is_the_answer_later():
    found = damaged("Of 72 eggs 48 hatch. 72-48 = 24 and 24*3 = 72, again 72.\n\\boxed{72}", "72")
    wrong = found.answer
    assert found.text == f"Of 72 eggs 48 hatch. 72-48 = 24 and 24*3 = {wrong}, again {wrong}.\n\\boxed{{{wrong}}}"


def test_an_answer_that_cannot_be_changed_where_it_is_stated_is_left():
    assert damaged("The answer is5", "5") is None


def test_an_answer_inside_a_longer_number_is_left():
    found = damaged("15 + 10 = 25, not 125, 2.25, 25.5 or 1,250.\n\\boxed{25}", "25")
    assert all(number in found.text for number in ("not 125, 2.25, 25.5 or 1,250.",))


def test_thinking_goes_wrong_where_the_answer_does():
    found = damaged("<think>7*11 = 77. So 77.</think>It is \\boxed{77}.", "77")
    assert found.text.count(found.answer) == 3
    assert "77" not in found.text


def test_the_same_draw_gives_the_same_damage():
    assert damaged(WORKED, "72", seed=5) == damaged(WORKED, "72", seed=5)
    assert len({damaged(WORKED, "72", seed=seed).answer for seed in range(20)}) > 5
