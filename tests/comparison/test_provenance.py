"""Versions, hardware and dates in the report, and unknown accuracies."""

from dataclasses import replace

import pytest

from prefix_rft_trl.comparison.provenance import NOT_RECORDED, differing_environments, provenance_table
from prefix_rft_trl.comparison.rendering import to_markdown
from prefix_rft_trl.comparison.report import build_report, print_summary, write_report
from prefix_rft_trl.comparison.results import Comparison, Experiment, ResultRow, ResultTable, Run


ENVIRONMENT = {
    "started": "2026-01-31 12:00", "versions": {"torch": "2.13.0", "trl": "1.16.0"}, "processor": "A CPU", "cores": 8,
    "threads": 1, "accelerator": "", "processes": 1,
}  # fmt: skip


def of_torch(version: str, **others) -> dict:
    return {**ENVIRONMENT, "versions": {**ENVIRONMENT["versions"], "torch": version}, **others}


def comparison(*environments: list[dict], **line) -> Comparison:
    curve = [{"step": step, "seconds": 1.0 * step, "accuracy": 0.5, "problems": 9} for step in (0, 10)]
    curve = [{**one, "generated_tokens": 0, "trained_tokens": 9, **line} for one in curve]
    runs = [Run(seed, curve, found) for seed, found in enumerate(environments)]
    rows = [ResultRow("method", [Experiment("method", "r", {}, runs)])]
    return Comparison("Title", "prefix-rft compare recipes", 0.5, "held-out.", [ResultTable("T", "", [], rows)])


def facts(found: Comparison) -> dict[str, str]:
    return dict(provenance_table(found).rows)


def test_the_report_ends_with_versions_hardware_and_dates(tmp_path):
    later = {**ENVIRONMENT, "started": "2026-02-01 08:30"}
    gpus = [{**one, "accelerator": "A GPU", "processes": 4} for one in (ENVIRONMENT, later)]
    found = comparison([gpus[0]], [gpus[1]])
    assert facts(found) == {
        "runs": "2", "started": "2026-01-31 12:00 to 2026-02-01 08:30 UTC", "torch": "2.13.0", "trl": "1.16.0",
        "processor": "A CPU, 8 cores", "threads of a process": "1", "processes": "4", "accelerator": "A GPU",
    }  # fmt: skip
    assert differing_environments(found) == ""
    write_report(found, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "prefix-rft compare recipes" in text
    assert "| torch                | 2.13.0" in text[text.index("## Made with") :]
    assert "Made with" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("environments", "torch"),
    [
        ([[of_torch("2.12")], [of_torch("2.13")], [of_torch("2.13")]], "2.13 (2 runs) and 2.12 (1 run)"),
        ([[of_torch("2.12"), of_torch("2.13")], [of_torch("2.13")]], "2.12 and 2.13 (1 run) and 2.13 (1 run)"),
        ([[of_torch("2.13")], []], f"2.13 (1 run) and {NOT_RECORDED} (1 run)"),
    ],
)
def test_runs_of_other_versions_are_said_to_be_so(capsys, environments, torch):
    found = comparison(*environments)
    assert facts(found)["torch"] == torch
    assert "torch" in differing_environments(found)
    print_summary(found)
    assert "Not all runs were made with the same" in capsys.readouterr().out


def test_a_run_counts_once_also_where_a_later_table_has_fewer_seeds():
    found = comparison(*[[ENVIRONMENT]] * 3)
    (row,) = found.tables[0].rows
    first = replace(row.experiments[0], runs=row.experiments[0].runs[:1])
    tables = [*found.tables, replace(found.tables[0], rows=[ResultRow("again", [first])])]
    assert facts(replace(found, tables=tables))["runs"] == "3"


def test_runs_of_earlier_releases_have_recorded_nothing():
    found = comparison([], [])
    assert facts(found) == {"runs": "2", "started": NOT_RECORDED}
    assert differing_environments(found) == ""


def test_what_a_run_names_as_its_versions_is_escaped(undrawn):
    nasty = {**ENVIRONMENT, "versions": {"<b>|": "[a](b)"}, "processor": "`<script>`\x1b[2J"}
    text = to_markdown(build_report(comparison([nasty])))
    assert r"\<b>\|" in text
    assert r"\[a\](b)" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("line", [{"problems": 0, "accuracy": 0.0}, {"accuracy": None}, {"accuracy": float("nan")}])
def test_an_accuracy_of_no_problem_is_a_dash_with_its_reason(tmp_path, capsys, line):
    unknown = comparison([ENVIRONMENT], [ENVIRONMENT], **line)
    known = comparison([ENVIRONMENT], [ENVIRONMENT]).tables[0].rows[0]
    rows = [*unknown.tables[0].rows, replace(known, label="known")]
    found = replace(unknown, tables=[replace(unknown.tables[0], rows=rows)])
    write_report(found, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| method |     0 |                      - |" in text
    assert "no held-out problem could be scored at the end: method (2 runs)." in text
    print_summary(found)
    assert "method (2 runs)" in capsys.readouterr().out
