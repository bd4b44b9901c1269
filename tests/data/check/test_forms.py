"""Forms of prompts and demonstrations that a run would stop at, and those that it takes."""

import pytest

from prefix_rft_trl.data.check import Columns
from prefix_rft_trl.data.check.checked_rows import read_rows
from prefix_rft_trl.data.texts import problem_text


def only_row(**parts):
    (row,) = read_rows([{"prompt": "2-1?", "completion": "#### 1", "solution": "1", **parts}], Columns())
    return row


@pytest.mark.parametrize(
    "prompt",
    [None, "", " \n", [], 7, {"role": "user", "content": "hi"}, ["hi"], [{"content": "hi"}],
     [{"role": "user", "content": None}], [{"role": "user", "content": " "}]],
)  # fmt: skip
def test_an_unusable_prompt_is_found(prompt):
    row = only_row(prompt=prompt)
    assert [finding.kind for finding in row.findings] == ["prompt_unusable"]
    assert row.prompt is None


@pytest.mark.parametrize(
    "prompt",
    ["hi", [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
     [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]],
)  # fmt: skip
def test_texts_and_messages_are_prompts(prompt):
    row = only_row(prompt=prompt)
    assert row.findings == []
    assert problem_text(row.prompt) == "hi"


@pytest.mark.parametrize("value", [5, {"a": 1}, [{"role": "user", "content": "hi"}], [1, 2]])
def test_a_demonstration_that_the_trainer_refuses_is_found(value):
    assert [finding.kind for finding in only_row(completion=value).findings] == ["demonstration_unusable"]


@pytest.mark.parametrize("value", [None, "", [], [""], "  ", [{"role": "assistant", "content": ""}]])
def test_rows_without_a_demonstration_are_counted_and_are_no_problem(check, clean_row, value):
    row = only_row(completion=value)
    assert [finding.kind for finding in row.findings] == ["no_demonstration"]
    report = check([clean_row(2), clean_row(3, completion=None)])
    assert report.rows_with("no_demonstration") == [1]
    assert report.exit_code == 0


def test_several_demonstrations_are_counted_and_are_no_problem(check, clean_row):
    report = check([clean_row(2, completion=["#### 1", r"\boxed{1}"]), clean_row(3, completion=["#### 2"])])
    assert report.rows_with("several_demonstrations") == [0]
    assert (report.demonstrations, report.exit_code) == (3, 0)


def test_plain_grpo_needs_no_column_of_demonstrations(check, clean_row):
    row = clean_row(2)
    report = check([{"prompt": row["prompt"], "solution": row["solution"]}], Columns(demonstration=None))
    assert report.exit_code == 0
    assert {"no_demonstration", "answer_disagrees"} <= set(report.unchecked)
