import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from prefix_rft_trl.comparison.report import terminal_table, write_report
from prefix_rft_trl.comparison.results import Comparison, Experiment, Row, Run, Table


VOID = {"meta", "path", "use", "br", "wbr", "rect"}


class Page(HTMLParser):
    """Collects tags, ids, links and text; fails where an element is closed that is not the last one opened."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def report(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(comparison, folder)
    return folder


def table_rows(markdown: str, after: str) -> dict[str, list[str]]:
    """Cells by the label of their row, of the first table after a line."""
    table = re.search(r"(?:^\|.*\n)+", markdown[markdown.index(after) :], re.M)[0]
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    return {line[0]: line[1:] for line in lines}


def without_runs(comparison: Comparison, label: str, keep: int = 0) -> Comparison:
    """The comparison as it is when only some seeds of a method have ended."""

    def cut_demonstration(row: Row) -> Row:
        return Row(row.label, [replace(e, runs=e.runs[:keep]) for e in row.experiments]) if row.label == label else row

    tables = [replace(table, rows=[cut_demonstration(row) for row in table.rows]) for table in comparison.tables]
    return replace(comparison, tables=tables)


def test_the_page_is_one_file_that_fetches_nothing(report):
    text = (report / "report.html").read_text()
    page = Page(text)

    assert not page.open
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert page.values("src") == []
    assert all(link.startswith("#") for link in page.values("href"))
    assert ("name", "viewport") in page.attributes
    assert page.tags.count("svg") == len(list((report / "figures").iterdir())) == 6


def test_ids_of_the_page_are_unique_and_all_that_points_to_them_finds_them(report):
    text = (report / "report.html").read_text()
    page = Page(text)
    ids = page.values("id")

    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.values("href")} <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)


def test_labels_and_titles_are_escaped(comparison, tmp_path):
    nasty = '<script>alert("x")</script> & `b`'
    methods = comparison.tables[0]
    rows = [Row(nasty, [replace(methods.rows[0].experiments[0], settings={nasty: nasty})]), *methods.rows[1:]]
    told = Table(nasty, nasty, [], rows)
    grid = Table(nasty, nasty, [nasty], [Row(nasty, row.experiments[:1]) for row in methods.rows])

    write_report(Comparison(nasty, nasty, 0.8, nasty, [told, grid]), tmp_path)

    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in page.tags
    assert not page.open
    assert any('<script>alert("x")</script>' in text for text in page.text)


def test_the_page_follows_the_readers_dark_and_light(report):
    text = (report / "report.html").read_text()

    assert "prefers-color-scheme: dark" in text
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text))
    assert {"--ink", "--page", "--series-0", "--series-2"} <= used
    light, dark = re.findall(r":root \{([^}]*)\}", text)
    assert all(f"{name}:" in light and f"{name}:" in dark for name in used)


def test_links_of_the_text_lead_to_the_figures(report):
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (report / "report.md").read_text())

    assert len(links) == 6
    assert {report / link for link in links} == set((report / "figures").iterdir())


def test_figures_of_an_earlier_report_do_not_stay(comparison, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "table1-old.svg").touch()

    write_report(replace(comparison, tables=comparison.tables[1:]), tmp_path)

    assert list((tmp_path / "figures").iterdir()) == []


def test_the_same_results_give_the_same_files(comparison, report, tmp_path):
    write_report(comparison, tmp_path)

    for file in ("report.md", "report.html", "results.json", "figures/table1-accuracy.svg"):
        assert (tmp_path / file).read_bytes() == (report / file).read_bytes()


def test_columns_of_the_text_are_in_line_in_a_terminal(report):
    tables = re.findall(r"(?:^\|.*\n)+", (report / "report.md").read_text(), re.M)

    assert len(tables) == 6
    for table in tables:
        assert len({len(line) for line in table.splitlines()}) == 1


def test_a_bar_in_a_label_makes_no_cell(report):
    tables = re.findall(r"(?:^\|.*\n)+", (report / "report.md").read_text(), re.M)

    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_table_tells_what_the_runs_hold(comparison, report):
    text = (report / "report.md").read_text()
    runs = comparison.tables[0].rows[0].experiments[0].runs
    finals = [run.curve[-1]["accuracy"] for run in runs]
    half = 4.3027 * np.std(finals, ddof=1) / np.sqrt(3)
    first = [next(line for line in run.curve if line["accuracy"] >= 0.8) for run in runs]

    whole = table_rows(text, "The whole run")["SFT"]
    until = table_rows(text, "Until the first")

    assert whole[:2] == ["3", f"{np.mean(finals):.3f} ± {half:.3f}"]
    assert whole[3] == "120"
    assert until["SFT"][:2] == ["3 of 3", f"{np.mean([line['step'] for line in first]):,.0f}"]
    assert until["RFT"] == ["0 of 3", "-", "-", "-", "-"]
    assert "Accuracy before training: 0.180." in text


def test_budgets_are_exact_and_methods_with_the_same_stand_together(comparison, report):
    text = (report / "report.md").read_text()
    ends = [run.curve[-1]["generated_tokens"] for run in comparison.tables[0].rows[1].experiments[0].runs]

    assert "7,680 sampled rollouts for 960 prompts: RFT and Prefix-RFT <ours> | x." in text
    assert "Not to be told from their settings: SFT." in text
    assert table_rows(text, "### Budgets")["RFT"][:4] == ["960", "7,680", "0", f"{np.mean(ends):,.0f}"]


def test_the_grid_marks_what_no_interval_puts_below_the_best(report):
    rows = table_rows((report / "report.md").read_text(), "Final accuracy, mean over 3 seeds.")

    assert all(cell.startswith("**") for cell in rows["Prefix-RFT"])
    assert not any("*" in cell for cell in rows["SFT"])


def test_settings_of_a_grid_are_those_along_its_columns_and_the_names_of_the_others(report):
    text = (report / "report.md").read_text()
    after = "### Settings that differ: Damaged"

    assert table_rows(text, after)["`damaged`"] == ["0 / 0.3", "0 / 0.3"]
    assert "Between the rows differ also `rate`" in text[text.index(after) :]


def test_settings_of_the_methods_stand_side_by_side_without_output_folders(report):
    rows = table_rows((report / "report.md").read_text(), "### Settings that differ: Methods")

    assert rows["`learning_rate`"] == ["0.0005", "0.0002", "0.0002"]
    assert rows["`num_generations`"] == ["-", "8", "8"]
    assert "`output_dir`" not in rows


def test_many_experiments_are_told_by_what_is_unusual_and_drawn_apart(comparison, tmp_path):
    runs = comparison.tables[0].rows[2].experiments[0].runs
    settings = [{"selection": "top", "rate": 1e-4}] * 9 + [{"selection": "random"}]
    rows = [Row(f"row {i}", [Experiment(f"e{i}", "r", s, runs)]) for i, s in enumerate(settings)]

    write_report(replace(comparison, tables=[Table("Many", "", [], rows)]), tmp_path)

    told = table_rows((tmp_path / "report.md").read_text(), "### Settings")
    assert told["row 0"] == ["as most"]
    assert told["row 9"] == ["`selection` random, no `rate`"]
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["table1-accuracy.svg"]


@pytest.mark.parametrize(("keep", "seeds", "final"), [(0, "0", "-"), (1, "1", r"0\.\d{3}"), (2, "2", r"0\.\d+ ± .*")])
def test_missing_runs_are_said_and_nothing_is_made_up(comparison, tmp_path, keep, seeds, final):
    write_report(without_runs(comparison, "SFT", keep), tmp_path)

    text = (tmp_path / "report.md").read_text()
    cells = table_rows(text, "The whole run")["SFT"]
    assert cells[0] == seeds
    assert re.fullmatch(final, cells[1])
    assert f"Most have 3 seeds. Fewer: SFT ({keep or 'none'})." in text
    assert "SFT" in terminal_table(without_runs(comparison, "SFT", keep))
    in_grid = table_rows(text, "Final accuracy, mean over 3 seeds")["SFT"]
    assert all(cell == "-" if keep == 0 else cell.endswith(f"(n={keep})") for cell in in_grid)


def test_a_comparison_in_which_nothing_has_run_yet_is_reported(comparison, tmp_path):
    tables = [
        replace(table, rows=[Row(row.label, [replace(e, runs=[]) for e in row.experiments]) for row in table.rows])
        for table in comparison.tables
    ]
    nothing = replace(comparison, tables=[*tables, Table("Empty", "", [], []), Table("Empty", "", ["a"], [])])

    write_report(nothing, tmp_path)

    text = (tmp_path / "report.md").read_text()
    assert "Accuracy before" not in text
    assert "![" not in text


def test_a_row_that_lacks_columns_has_dashes_there(comparison, tmp_path):
    grid = comparison.tables[1]
    short = replace(grid, rows=[Row("short", grid.rows[0].experiments[:1]), *grid.rows])

    write_report(replace(comparison, tables=[short]), tmp_path)

    assert table_rows((tmp_path / "report.md").read_text(), "Final accuracy")["short"][1] == "-"


def test_the_terminal_has_the_first_table_in_line(comparison):
    lines = terminal_table(comparison).splitlines()

    assert len(lines) == 6
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[3].split()[:5] == ["RFT", "3", *re.findall(r"\S+ ± \S+", lines[3])[0].split()]
    assert max(map(len, lines)) < 110
    assert "Prefix-RFT" in terminal_table(replace(comparison, tables=comparison.tables[1:]))


def test_results_hold_settings_curves_and_summaries(comparison, report):
    text = (report / "results.json").read_text()
    found = json.loads(text)

    asked = json.loads(json.dumps(comparison.to_dict()))
    for table, expected in zip(found["tables"], asked["tables"], strict=True):
        assert (table["title"], table["columns"]) == (expected["title"], expected["columns"])
        for row, expected_row in zip(table["rows"], expected["rows"], strict=True):
            for one, other in zip(row["experiments"], expected_row["experiments"], strict=True):
                assert {key: one[key] for key in other} == other
    summary = found["tables"][0]["rows"][0]["experiments"][0]["summary"]
    assert summary["to_threshold"]["reached"] == 3
    assert summary["final"]["seeds"] == 3
    assert found["tables"][1]["differing_settings"] == ["damaged", "rate"]
    assert max(map(len, text.splitlines())) < 400  # a measurement a line, not a run


def test_numbers_that_json_lacks_are_null(comparison, tmp_path):
    line = {**comparison.tables[0].rows[0].experiments[0].runs[0].curve[0], "policy_entropy": float("nan")}
    table = Table("t", "", [], [Row("label", [Experiment("e", "r", {"top": float("inf")}, [Run(0, [line])])])])

    write_report(replace(comparison, tables=[table]), tmp_path)

    experiment = json.loads((tmp_path / "results.json").read_text())["tables"][0]["rows"][0]["experiments"][0]
    assert experiment["settings"]["top"] is None
    assert experiment["runs"][0]["curve"][0]["policy_entropy"] is None
