"""GSM8K: worked solutions by people, with calculator marks inside and the answer after `####`."""

import re
from collections.abc import Sequence

from prefix_rft_trl.data.convert.rows import Problem, Unusable, without_separators

from .reading import Reader, Row, check_columns, text_of


COLUMNS = ["question", "answer"]
MARK = "####"

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


def gsm8k(found: Sequence[str], keep_mark: bool = False) -> Reader:
    """GSM8K as it is published.

    Args:
        found (`Sequence[str]`): columns of the dataset.
        keep_mark (`bool`): whether a demonstration ends with `#### 72` instead of a box.

    Raises:
        ValueError: if a column is missing.
    """
    check_columns("gsm8k", COLUMNS, found)

    def read(row: Row) -> Problem:
        question = text_of(row["question"], "problem")
        working, mark, stated = text_of(row["answer"], "answer").rpartition(MARK)
        answer = without_separators(stated.strip())
        if not mark or not answer:
            raise Unusable(f"no answer after {MARK}")
        last_line = f"{MARK} {answer}" if keep_mark else rf"\boxed{{{answer}}}"
        demonstration = f"{_CALCULATOR_MARK.sub('', working).strip()}\n{last_line}".strip()
        return Problem(question, (demonstration,), answer)

    return Reader(COLUMNS, read)
