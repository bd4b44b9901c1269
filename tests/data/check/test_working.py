"""Demonstrations that never arrive at the number that they end in."""

import pytest

from prefix_rft_trl.data.check.answer_checks import arrives_at


@pytest.mark.parametrize(
    ("working", "answer"),
    [
        ("48 + 16 = <<48+16=64>>64 points.", "66"),
        ("so the stockings cost 162+45 = $207.00", "1035"),
        ("each load costs 40/160 = $0.25", "25"),
        ("12 and 21", "2"),
    ],
)
def test_a_number_that_the_working_never_has_is_told(working, answer):
    assert not arrives_at(working, answer)


@pytest.mark.parametrize(
    ("working", "answer"),
    [
        ("she has 5.", "5"),
        ("that is $1,234.50 in all", "1234.5"),
        ("17 000/5 = 3 400.", "3400"),
        ("so x=-7", "-7"),
        ("2400/200 = 12 200-kilobyte videos", "12"),
        ("costs .75 each", "0.75"),
        ("no number at all", "12"),
        ("2 and 3", "x+1"),
        ("2 and 3", r"\frac{1}{2}"),
    ],
)
def test_a_number_that_it_has_and_what_is_no_number_are_not(working, answer):
    assert arrives_at(working, answer)


def test_rows_of_that_kind_are_shown_and_are_no_problem(check, clean_row):
    report = check([clean_row(2), clean_row(3, completion="3-1=1 #### 2")])
    assert report.rows_with("answer_unworked") == [1]
    assert report.exit_code == 0
