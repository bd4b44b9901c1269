"""Prompts of an earlier row, with the same gold or another."""

import pytest


PROBLEM = {"role": "user", "content": "5-1?"}


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ({"prompt": "5 - 1\n?"}, {"prompt": "5 - 1 ?"}, "duplicate"),
        ({"prompt": "What is A?"}, {"prompt": "  WHAT IS A?\n"}, "duplicate"),
        ({"prompt": [PROBLEM]}, {"prompt": [{"role": "system", "content": "Be brief."}, PROBLEM]}, "duplicate"),
        ({"solution": ["four", "4"]}, {"solution": ["4"]}, "duplicate"),
        ({}, {"solution": "7", "completion": "#### 7"}, "conflicting_gold"),
        ({"prompt": "What is 3+2-1?"}, {"prompt": "What is 3-2+1?"}, None),
    ],
)
def test_the_second_of_two_rows_with_the_same_problem_is_reported(check, clean_row, first, second, kind):
    report = check([clean_row(5, **first), clean_row(5, **second)])
    assert {found: report.rows_with(found) for found in report.findings} == ({kind: [1]} if kind else {})


def test_every_repetition_names_the_first_row(check, clean_row):
    report = check([clean_row(2), clean_row(5), clean_row(5), clean_row(5)])
    notes = [(found.row, found.note[:20]) for found in report.findings["duplicate"]]
    assert notes == [(2, "as row 1: Tom has 5 "), (3, "as row 1: Tom has 5 ")]


def test_a_conflict_names_both_golds(check, clean_row):
    (finding,) = check([clean_row(5), clean_row(5, solution="7")]).findings["conflicting_gold"]
    assert finding.note == "as row 0, where the gold is '4', here '7'"
