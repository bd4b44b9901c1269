"""docs/which_method.md: the lab's figures are those of the report, and each figure of others has its source."""

import re
from pathlib import Path

import pytest


DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "which_method.md").read_text()
REPORT = (DOCS / "comparison" / "report.md").read_text()
SOURCES = ("paper", "abstract", "repository", "second-hand")


def section(page: str, heading: str) -> str:
    return re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)[2]


def rows(text: str) -> list[list[str]]:
    """The cells of the table rows below a heading row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def reported(column: int, heading: str) -> dict[str, str]:
    """Accuracies of one column of the first table of a section of the report, by method, to two digits."""
    table = section(REPORT, heading).split("| ---", 1)[1].split("\n\n", 1)[0]
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]
    return {cell[0]: f"{float(cell[column].split()[0]):.2f}" for cell in cells}


@pytest.mark.parametrize(
    ("case", "column", "heading"),
    [
        ("the demonstrations take steps", 2, "Demonstrations of another policy"),
        ("one problem in ten", 2, "Quantity of the demonstrations"),
    ],
)
def test_the_lab_s_figures_of_a_case_are_those_of_the_report(case, column, heading):
    lab = next(row[2] for row in rows(section(PAGE, "Short answer")) if row[0].startswith(case))
    found = reported(column, heading)
    assert re.findall(r"\d\.\d\d", lab) in (
        [found["Prefix-RFT"], found["SFT then RFT"]],
        [found["SFT then RFT"], found["Prefix-RFT"]],
    )


@pytest.mark.parametrize("heading", ["For prefixes and hints", "For both in one stage"])
def test_each_figure_of_others_says_what_it_is_of_and_where_it_was_read(heading):
    found = rows(section(PAGE, heading))
    assert len(found) >= 6
    for method, setting, reports, read_in in found:
        assert re.fullmatch(r"\[.+\]\(https://arxiv\.org/abs/\d{4}\.\d{5}\)", method)
        assert setting
        assert reports
        assert any(source in read_in for source in SOURCES), read_in


def test_every_paper_that_the_page_names_is_a_link():
    assert len(re.findall(r"arxiv\.org/abs/\d{4}\.\d{5}", PAGE)) >= 20
    assert re.findall(r"(?<!\[)arXiv \d{4}\.\d{5}", PAGE) == []
