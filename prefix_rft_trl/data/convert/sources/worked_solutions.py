"""Read GSM8K and MATH, whose worked solutions, written by people, end in the answer."""

import re
from collections.abc import Sequence

from prefix_rft_trl.data.convert.rows import SourceProblem, Unusable, without_separators
from prefix_rft_trl.rewards.answers import find_final_answer

from .reading import Reader, SourceRow, check_columns, read_text


MARK = "####"

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


def gsm8k(found: Sequence[str], keep_mark: bool = False) -> Reader:
    """A reader of GSM8K as published; calculator marks and thousands separators in the answer are removed.

    With `keep_mark` a demonstration ends in `#### 72` instead of a box.
    """

    def read(row: SourceRow) -> SourceProblem:
        question = read_text(row["question"], "problem")
        working, mark, stated = read_text(row["answer"], "answer").rpartition(MARK)
        answer = without_separators(stated.strip())
        if not mark or not answer:
            raise Unusable(f"no answer after {MARK}")
        last_line = f"{MARK} {answer}" if keep_mark else rf"\boxed{{{answer}}}"
        demonstration = f"{_CALCULATOR_MARK.sub('', working).strip()}\n{last_line}".strip()
        return SourceProblem(question, (demonstration,), answer)

    return Reader(check_columns("gsm8k", ["question", "answer"], found), read)


def competition_math(found: Sequence[str]) -> Reader:
    """A reader of MATH as published: the solution is the demonstration, its last box the answer."""

    def read(row: SourceRow) -> SourceProblem:
        problem, worked = read_text(row["problem"], "problem"), read_text(row["solution"], "solution")
        boxed = find_final_answer(worked, markers=())
        if boxed is None or not boxed.text:
            raise Unusable("no answer in a box")
        return SourceProblem(problem, (worked,), boxed.text)

    return Reader(check_columns("math", ["problem", "solution"], found), read)
