import json
import os
from pathlib import Path

import pytest

from prefix_rft_trl.data.convert.rows import Unusable
from prefix_rft_trl.data.convert.sources.gsm8k import gsm8k


COLUMNS = ["question", "answer"]
REAL = os.environ.get("PREFIX_RFT_DATA")


def read(answer, question="How many?", **options):
    return gsm8k(COLUMNS, **options).read({"question": question, "answer": answer})


def test_calculator_marks_go_and_the_last_line_becomes_a_box():
    problem = read("She sold 48/2 = <<48/2=24>>24 in May.\nIn all $<<48+24=72>>72.\n#### 72")
    assert problem.prompt == "How many?"
    assert problem.demonstrations == ("She sold 48/2 = 24 in May.\nIn all $72.\n\\boxed{72}",)
    assert problem.solution == "72"


def test_the_mark_can_be_kept():
    assert read("2+2=<<2+2=4>>4\n#### 4", keep_mark=True).demonstrations == ("2+2=4\n#### 4",)


@pytest.mark.parametrize(("written", "solution"), [("1,234", "1234"), ("-5", "-5"), ("109,200,000", "109200000")])
def test_separators_of_thousands_go_in_both(written, solution):
    problem = read(f"That is {written}.\n#### {written}")
    assert problem.demonstrations == (f"That is {written}.\n\\boxed{{{solution}}}",)
    assert problem.solution == solution


@pytest.mark.parametrize(
    ("answer", "question", "reason"),
    [
        ("no mark", "Q?", "no answer after ####"),
        ("mark\n#### ", "Q?", "no answer after ####"),
        (None, "Q?", "no answer"),
        ("#### 4", " ", "no problem"),
        ("#### 4", 4, "problem that is no text"),
    ],
)
def test_a_row_without_problem_or_answer_says_so(answer, question, reason):
    with pytest.raises(Unusable, match=f"^{reason}$"):
        read(answer, question)


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
