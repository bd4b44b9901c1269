"""docs/which_method.md: the lab's figures are those of the report, and each figure of others has its source."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest


DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "which_method.md").read_text()
MAP = json.loads((DOCS / "lab_map" / "results.json").read_text())["map"]
SOURCES = ("paper", "abstract", "repository", "second-hand")


def section(page: str, heading: str) -> str:
    return re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)[2]


def rows(text: str) -> list[list[str]]:
    """The cells of the table rows below a heading row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def means(**levels: str) -> dict[str, str]:
    """Mean accuracies of a cell of the map by method, to two digits; levels that are not given are the first."""
    levels = {axis["name"]: next(iter(axis["levels"])) for axis in MAP["axes"]} | levels
    (cell,) = (cell for cell in MAP["cells"] if cell["levels"] == levels)
    runs = {method: MAP["experiments"][name]["runs"] for method, name in cell["methods"].items()}
    assert all(len(of_method) == 3 for of_method in runs.values())
    return {method: f"{fmean(run['accuracy'] for run in found):.2f}" for method, found in runs.items()}


@pytest.mark.parametrize(
    ("case", "levels"),
    [
        ("the demonstrations take steps", {"style": "brief"}),
        ("one problem in ten", {"demonstrations": "10%"}),
        ("they are in another style", {"style": "swapped"}),
    ],
)
def test_the_lab_s_figures_of_a_case_are_those_of_the_map(case: str, levels: dict[str, str]) -> None:
    lab = next(row[2] for row in rows(section(PAGE, "Short answer")) if row[0].startswith(case))
    found = means(**levels)
    assert sorted(re.findall(r"\d\.\d\d", lab)) == sorted([found["Prefix-RFT"], found["SFT then RFT"]])


def test_the_table_of_the_map_has_the_means_of_its_cells():
    methods, *_ = section(PAGE, "The map").split("| changed condition", 1)[1].splitlines()
    names = [name.strip() for name in methods.strip("|").split("|")[1:]]
    shown = [[cell.strip("* ").split()[0] for cell in row[1:]] for row in rows(section(PAGE, "The map"))]
    found = [means(**cell["levels"]) for cell in MAP["cells"]]
    assert shown == [[of_cell[name] for name in names] for of_cell in found]


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
