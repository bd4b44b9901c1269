import pytest

from prefix_rft_trl.rewards.answers import acceptable_golds


@pytest.mark.parametrize(
    ("solution", "golds"),
    [
        ("42", ("42",)),
        (r" \dfrac{1}{2} ", (r"\dfrac{1}{2}",)),
        ("A", ("A",)),
        ("$42$", ("$42$",)),
        (r"\boxed{\frac{1}{2}}", (r"\frac{1}{2}",)),
        (r"$\boxed{42}$", ("42",)),
        (r"First \boxed{1}, so in the end $\boxed{2}$.", ("2",)),
        ("48/2 = <<48/2=24>>24\n#### 1,024", ("1,024",)),
        ("#### 42", ("42",)),
        ("The answer is 42", ("The answer is 42",)),
        (r"<think>\boxed{1}</think> \boxed{2}", ("2",)),
    ],
)
def test_right_answer_is_read_from_each_form_that_datasets_use(solution, golds):
    assert acceptable_golds(solution) == golds


@pytest.mark.parametrize(
    ("number", "gold"),
    [
        (42, "42"),
        (0, "0"),
        (-3, "-3"),
        (42.0, "42"),
        (0.1, "0.1"),
        (-2.5, "-2.5"),
        (1e-5, "0.00001"),
        (1e16, "1" + "0" * 16),
    ],
)
def test_number_is_written_as_a_response_would_write_it(number, gold):
    assert acceptable_golds(number) == (gold,)


@pytest.mark.parametrize(
    ("solution", "golds"),
    [
        (["1", "2"], ("1", "2")),
        (("1", "2"), ("1", "2")),
        ([1, 2.0, "2"], ("1", "2")),
        (["$1$", None, r"\boxed{2}", "", "n/a"], ("$1$", "2")),
        ([["1"], ["2", "1"]], ("1", "2")),
    ],
)
def test_each_of_several_answers_is_right(solution, golds):
    assert acceptable_golds(solution) == golds


NO_ANSWERS = ["", "  ", "None", "null", "NaN", "N/A", "-", r"\boxed{}"]


@pytest.mark.parametrize(
    "solution", [*NO_ANSWERS, None, [], [None], ["", "none"], float("nan"), True, {}, b"1"], ids=repr
)
def test_placeholders_and_other_types_name_no_answer(solution):
    assert acceptable_golds(solution) == ()
