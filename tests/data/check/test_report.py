"""The report in the terminal and as JSON."""

import json

import pytest
from rich.console import Console

from prefix_rft_trl.data.check import KINDS, Finding, Report
from prefix_rft_trl.data.check.check_report import print_report


@pytest.fixture
def printed():
    def show(report: Report, examples: int = 3) -> str:
        console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        print_report(report, "rows.jsonl, split train", examples, console)
        return console.export_text()

    return show


def found(kind: str, *rows: int) -> dict[str, list[Finding]]:
    return {kind: [Finding(kind, row, f"note [of] {row}") for row in rows]}


def test_each_kind_has_its_rows_and_its_share(printed):
    report = Report(2000, 1500, found("duplicate", 3, 3, 7) | found("answer_missing", 1))
    lines = [line.rstrip() for line in printed(report).splitlines()]
    assert any(line.startswith(KINDS["duplicate"].title) and line.endswith(" 2   0.1%") for line in lines)
    assert any(line.startswith(KINDS["answer_missing"].title) and line.endswith(" 1  <0.1%") for line in lines)


def test_the_requested_examples_are_shown_and_the_rest_counted(printed):
    report = Report(10, 10, found("duplicate", *range(5)))
    text = printed(report, examples=2)
    assert "row 1: note [of] 1" in text
    assert "row 2:" not in text
    assert "and 3 more" in text
    assert "row 0" not in printed(report, examples=0)


@pytest.mark.parametrize(
    ("report", "code", "message"),
    [
        (Report(10), 0, "Clean."),
        (Report(10, findings=found("no_demonstration", 1, 2)), 0, "Clean."),
        (Report(10, findings=found("duplicate", 1, 2) | found("gold_missing", 2)), 1, "Problems in 2 of 10 rows."),
        (Report(10, findings=found("duplicate", 1), unusable=["no golds"]), 2, "Unusable: no golds."),
    ],
)
def test_verdict_and_exit_code_agree(printed, report, code, message):
    assert report.exit_code == code
    assert printed(report).rstrip().splitlines()[-1].startswith(message)


def test_an_unchecked_kind_does_not_look_clean(printed):
    text = printed(Report(10, unchecked={"benchmark_exact": "no benchmarks"}))
    (line,) = (line for line in text.splitlines() if line.startswith(KINDS["benchmark_exact"].title))
    assert line.rstrip().endswith("not checked")


def test_the_json_report_has_every_row():
    report = Report(100, 100, found("duplicate", *range(50)) | found("answer_missing", 4))
    written = json.loads(json.dumps(report.to_json()))
    assert set(written["findings"]) == set(KINDS)
    assert written["findings"]["duplicate"]["rows"] == list(range(50))
    assert written["findings"]["answer_missing"]["notes"] == [{"row": 4, "note": "note [of] 4"}]
    assert written["exit_code"] == 1


def test_a_histogram_shows_the_demonstrations(printed, check, clean_row):
    text = printed(check([clean_row(2), clean_row(3), clean_row(4, completion="x" * 900 + "#### 3")]))
    assert "Length of demonstrations in characters: min" in text
    assert "max 906" in text
    assert "█" in text
