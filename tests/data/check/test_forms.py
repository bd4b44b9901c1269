"""Forms of prompts and demonstrations that a run would stop at, and those that it takes."""

import pytest

from prefix_rft_trl.data.check import Columns
from prefix_rft_trl.data.check.checked_rows import read_rows
from prefix_rft_trl.data.texts import problem_text


def only_row(**parts):
    (row,) = read_rows([{"prompt": "2-1?", "completion": "#### 1", "solution": "1", **parts}], Columns(), [0])
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
def test_a_row_without_a_demonstration_is_found(value):
    assert [finding.kind for finding in only_row(completion=value).findings] == ["no_demonstration"]


@pytest.mark.parametrize(
    ("completion", "kind", "demonstrations"),
    [
        ([], "no_demonstration", 1),
        (["#### 2", r"\boxed{2}"], "several_demonstrations", 3),
        (["3-1=1 #### 2"], "answer_unworked", 2),
    ],
)
def test_what_a_run_takes_is_counted_and_is_no_problem(check, clean_row, completion, kind, demonstrations):
    report = check([clean_row(2, completion=["#### 1"]), clean_row(3, completion=completion)])
    assert {found: report.rows_with(found) for found in report.findings} == {kind: [1]}
    assert (report.demonstrations, report.exit_code) == (demonstrations, 0)


@pytest.mark.parametrize(
    ("columns", "unchecked"),
    [
        (Columns(), {"benchmark_exact": "no benchmarks", "demonstration_too_long": "no completion budget"}),
        (Columns(answer=None), {"gold_missing": "no answer column"}),
        (
            Columns(demonstration=None),
            dict.fromkeys(("no_demonstration", "answer_disagrees"), "no demonstration column"),
        ),
    ],
)
def test_what_cannot_be_checked_is_no_problem_and_says_why(check, clean_row, columns, unchecked):
    row = {name: value for name, value in clean_row(2).items() if name in columns.names}
    report = check([row if columns.answer else {**row, "completion": "any"}], columns)
    assert report.exit_code == 0
    assert unchecked.items() <= report.unchecked.items()
