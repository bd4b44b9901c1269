import pytest

from prefix_rft_trl.rewards.answers import acceptable_golds


@pytest.mark.parametrize(
    ("golds", "solution"),
    [
        # Text
        (("42",), "42"),
        ((r"\dfrac{1}{2}",), r" \dfrac{1}{2} "),
        (("A",), "A"),
        (("$42$",), "$42$"),
        ((r"\frac{1}{2}",), r"\boxed{\frac{1}{2}}"),
        (("42",), r"$\boxed{42}$"),
        (("2",), r"First \boxed{1}, so in the end $\boxed{2}$."),
        (("1,024",), "48/2 = <<48/2=24>>24\n#### 1,024"),
        (("42",), "#### 42"),
        (("The answer is 42",), "The answer is 42"),
        (("2",), r"<think>\boxed{1}</think> \boxed{2}"),
        # Numbers, written as a response would write them
        (("42",), 42),
        (("42",), 42.0),
        (("0",), 0),
        (("-3",), -3),
        (("0.1",), 0.1),
        (("-2.5",), -2.5),
        (("0.00001",), 1e-5),
        (("1" + "0" * 16,), 1e16),
        # Several answers
        (("1", "2"), ["1", "2"]),
        (("1", "2"), ("1", "2")),
        (("1", "2"), [1, 2.0, "2"]),
        (("1", "2"), [["1"], ["2", "1"]]),
        (("$1$", "2"), ["$1$", None, r"\boxed{2}", "", "n/a"]),
    ],
)
def test_right_answers_are_read_from_each_form_that_datasets_use(golds, solution):
    assert acceptable_golds(solution) == golds


NO_ANSWERS = ["", "  ", "None", "null", "NaN", "N/A", "-", r"\boxed{}"]


@pytest.mark.parametrize(
    "solution", [*NO_ANSWERS, None, [], [None], ["", "none"], float("nan"), True, {}, b"1"], ids=repr
)
def test_placeholders_and_other_types_name_no_answer(solution):
    assert acceptable_golds(solution) == ()
