"""GSM8K and MATH: the answer is taken from the end of the worked solution."""

import json
import os
from pathlib import Path

import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.convert.sources.worked_solutions import competition_math, gsm8k


COLUMNS = ["question", "answer"]
REAL = os.environ.get("PREFIX_RFT_DATA")


def read_gsm8k(answer, question="How many?", **options):
    return gsm8k(COLUMNS, **options).read({"question": question, "answer": answer})


def test_calculator_marks_are_removed_and_the_last_line_becomes_a_box():
    problem = read_gsm8k("She sold 48/2 = <<48/2=24>>24 in May.\nIn all $<<48+24=72>>72.\n#### 72")
    assert problem.prompt == "How many?"
    assert problem.demonstrations == ("She sold 48/2 = 24 in May.\nIn all $72.\n\\boxed{72}",)
    assert problem.solution == "72"


def test_the_mark_can_be_kept():
    assert read_gsm8k("2+2=<<2+2=4>>4\n#### 4", keep_mark=True).demonstrations == ("2+2=4\n#### 4",)


@pytest.mark.parametrize(("written", "solution"), [("1,234", "1234"), ("-5", "-5"), ("109,200,000", "109200000")])
def test_thousands_separators_are_removed_from_demonstration_and_answer(written, solution):
    problem = read_gsm8k(f"That is {written}.\n#### {written}")
    assert problem.demonstrations == (f"That is {written}.\n\\boxed{{{solution}}}",)
    assert problem.solution == solution


@pytest.mark.parametrize(
    ("answer", "question", "reason"),
    [("no mark", "Q?", "no answer after ####"), ("mark\n#### ", "Q?", "no answer after ####"),
     (None, "Q?", "no answer"), ("#### 4", " ", "no problem"), ("#### 4", 4, "problem that is not text")],
)  # fmt: skip
def test_an_unusable_row_says_why(answer, question, reason):
    with pytest.raises(Unusable, match=f"^{reason}$"):
        read_gsm8k(answer, question)


def test_missing_columns_are_named_with_those_that_are_there():
    with pytest.raises(ValueError, match=r"'question'.*it has: problem, answer"):
        gsm8k(["problem", "answer"])


@pytest.mark.skipif(not REAL, reason="PREFIX_RFT_DATA names no folder")
def test_every_real_demonstration_ends_in_the_gold_answer():
    rows = [json.loads(line) for line in (Path(REAL) / "gsm8k" / "train.jsonl").read_text("utf-8").splitlines()]
    problems = [gsm8k(COLUMNS).read(row) for row in rows]
    assert len(problems) == 7473
    for row, problem in zip(rows, problems, strict=True):
        gold = row["answer"].split("#### ")[1].replace(",", "")
        assert problem.solution == gold
        assert problem.demonstrations[0].endswith(f"\n\\boxed{{{gold}}}")
        assert "<<" not in problem.demonstrations[0]
        assert "####" not in problem.demonstrations[0]


def read_math(solution):
    row = {"problem": "What is $x$?", "level": "Level 3", "type": "Algebra", "solution": solution}
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
def test_the_answer_of_math_is_in_the_last_box(solution, answer):
    problem = read_math(solution)
    assert (problem.demonstrations, problem.solution) == ((solution,), answer)


@pytest.mark.parametrize("solution", ["The answer is 7.", r"\boxed{", r"\boxed{}"])
def test_without_a_box_there_is_no_answer(solution):
    with pytest.raises(Unusable, match="no answer in a box"):
        read_math(solution)
