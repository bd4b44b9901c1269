"""MATH: problems of competitions, the answer in the last box of the solution."""

from collections.abc import Sequence

from prefix_rft_trl.data.convert.rows import Problem, Unusable
from prefix_rft_trl.rewards.answers import find_final_answer

from .reading import Reader, Row, check_columns, text_of


COLUMNS = ["problem", "solution"]


def competition_math(found: Sequence[str]) -> Reader:
    """MATH as it is published: the solution is the demonstration.

    Raises:
        ValueError: if a column is missing.
    """
    check_columns("math", COLUMNS, found)

    def read(row: Row) -> Problem:
        problem, worked = text_of(row["problem"], "problem"), text_of(row["solution"], "solution")
        boxed = find_final_answer(worked, markers=())
        if boxed is None or not boxed.text:
            raise Unusable("no answer in a box")
        return Problem(problem, (worked,), boxed.text)

    return Reader(COLUMNS, read)
