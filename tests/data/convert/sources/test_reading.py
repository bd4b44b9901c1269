"""Answers as datasets hold them: text, numbers, lists, gaps."""

import pytest

from prefix_rft_trl.data.convert.rows import Unusable, without_separators
from prefix_rft_trl.data.convert.sources.reading import read_solution


@pytest.mark.parametrize(
    ("value", "solution"),
    [(" 72 ", "72"), (72, "72"), (72.0, "72"), (0.5, "0.5"), (0, "0"), (r"\frac{1}{2}", r"\frac{1}{2}"),
     (["7"], "7"), (["7", 8, None, "7"], ("7", "8"))],
)  # fmt: skip
def test_an_answer_is_text_or_several_texts(value, solution):
    assert read_solution(value) == solution


@pytest.mark.parametrize("value", [None, "", "  ", [], [None, ""], float("nan")])
def test_a_row_without_an_answer_is_unusable(value):
    with pytest.raises(Unusable, match="no answer"):
        read_solution(value)


@pytest.mark.parametrize(
    ("answer", "plain"),
    [("1,234", "1234"), ("-109,200,000", "-109200000"), ("1,234.50", "1234.50"), ("12,34", "12,34"),
     ("1, 234", "1, 234"), ("(1,234)", "(1,234)"), ("72", "72")],
)  # fmt: skip
def test_thousands_separators_are_removed_from_plain_numbers_alone(answer, plain):
    assert without_separators(answer) == plain
