import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.convert.sources.competition_math import competition_math


def read(solution, problem="What is $x$?"):
    row = {"problem": problem, "level": "Level 3", "type": "Algebra", "solution": solution}
    return competition_math(list(row)).read(row)


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"Then $x=\boxed{\frac{3}{4}}$.", r"\frac{3}{4}"),
        (r"First $\boxed{1}$, at last $\boxed{\left\{2, 3\right\}}$.", r"\left\{2, 3\right\}"),
        (r"our answer is $\boxed 2$.", "2"),
        (r"It is $\fbox{7}$, and the answer is small.", "7"),
    ],
)
def test_the_answer_is_in_the_last_box(solution, answer):
    problem = read(solution)
    assert (problem.demonstrations, problem.solution) == ((solution,), answer)


@pytest.mark.parametrize("solution", ["The answer is 7.", r"\boxed{", r"\boxed{}"])
def test_without_a_box_there_is_no_answer(solution):
    with pytest.raises(Unusable, match="no answer in a box"):
        read(solution)
