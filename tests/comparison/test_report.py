import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from prefix_rft_trl.comparison.cost_tables import different_steps
from prefix_rft_trl.comparison.report import print_summary, write_report
from prefix_rft_trl.comparison.results import Comparison, Experiment, ResultRow, ResultTable, Run


def table_rows(markdown: str, after: str) -> dict[str, list[str]]:
    """Cells by the label of their row, of the first table after a line."""
    table = re.search(r"(?:^\|.*\n)+", markdown[markdown.index(after) :], re.M)[0]
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    return {line[0]: line[1:] for line in lines}


def cut_runs(comparison: Comparison, keep: int, label: str | None = None) -> Comparison:
    """The comparison when only some seeds of a method, or of all, are finished."""

    def cut(row: ResultRow) -> ResultRow:
        if label not in (None, row.label):
            return row
        return ResultRow(row.label, [replace(one, runs=one.runs[:keep]) for one in row.experiments])

    return replace(comparison, tables=[replace(t, rows=list(map(cut, t.rows))) for t in comparison.tables])


def written(comparison: Comparison, folder) -> str:
    write_report(comparison, folder)
    return (folder / "report.md").read_text()


def test_figures_of_an_earlier_report_do_not_stay(comparison, tmp_path):
    (tmp_path / "figures").mkdir()
    for name in ("table1-old.svg", "table1-old.png"):
        (tmp_path / "figures" / name).touch()
    write_report(replace(comparison, tables=comparison.tables[1:]), tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"table1-final.svg", "table1-final.png"}


def test_the_same_results_give_the_same_bytes(comparison, report, tmp_path):
    write_report(comparison, tmp_path)
    for file in (
        "report.md",
        "report.html",
        "results.json",
        "figures/table1-accuracy.svg",
        "figures/table1-final.png",
    ):
        assert (tmp_path / file).read_bytes() == (report / file).read_bytes()


@pytest.fixture(scope="module")
def markdown(report) -> str:
    return (report / "report.md").read_text()


def test_the_tables_hold_what_the_runs_measured(comparison, markdown):
    runs = comparison.tables[0].rows[0].experiments[0].runs
    finals = [run.curve[-1]["accuracy"] for run in runs]
    first = [next(line for line in run.curve if line["accuracy"] >= 0.8) for run in runs]
    found, until = table_rows(markdown, "Final accuracy, mean")["SFT"], table_rows(markdown, "Until the first")
    assert found[0] == "3"
    assert found[1].startswith(f"{np.mean(finals):.3f} (")
    assert table_rows(markdown, "Complete runs")["SFT"][1] == "120"
    assert until["SFT"][:2] == ["3 of 3", f"{np.mean([line['step'] for line in first]):,.0f}"]
    assert until["RFT"] == ["0 of 3", "-", "-", "-", "-"]
    assert "Accuracy before training: 0.180." in markdown


def test_methods_with_equal_budgets_stand_together(comparison, markdown):
    ends = [run.curve[-1]["generated_tokens"] for run in comparison.tables[0].rows[1].experiments[0].runs]
    assert "7,680 sampled rollouts for 960 prompts: RFT and Prefix-RFT \\<ours> | x." in markdown
    assert "Unknown from their settings: SFT." in markdown
    assert table_rows(markdown, "### Budgets")["RFT"][:4] == ["960", "7,680", "0", f"{np.mean(ends):,.0f}"]


def test_the_grid_marks_what_is_told_apart_from_all_others(markdown):
    rows = table_rows(markdown, "Final accuracy, mean over 3 seeds.")
    assert all(cell.startswith("**") for cell in rows["Prefix-RFT"])
    assert not any("*" in cell for cell in rows["SFT"])
    differences = table_rows(markdown, "Paired difference in final accuracy from the highest mean of the column")
    assert differences["Prefix-RFT"] == ["highest mean", "highest mean"]
    assert all(re.fullmatch(r"-0\.\d+ \(-0\.\d+ to -0\.\d+\)", cell) for cell in differences["SFT"])


def test_differing_settings_of_methods_stand_side_by_side_and_those_of_a_grid_along_its_columns(markdown):
    methods, after = table_rows(markdown, "### Settings that differ: Methods"), "### Settings that differ: Damaged"
    assert methods["`learning_rate`"] == ["0.0005", "0.0002", "0.0002"]
    assert methods["`num_generations`"] == ["-", "8", "8"]
    assert "`output_dir`" not in methods
    assert table_rows(markdown, after)["`damaged`"] == ["0 / 0.3", "0 / 0.3"]
    assert "Rows also differ in `rate`" in markdown[markdown.index(after) :]


def test_of_many_experiments_only_what_is_unusual_is_listed_and_each_has_a_panel(comparison, tmp_path):
    runs = comparison.tables[0].rows[2].experiments[0].runs
    settings = [{"selection": "top", "rate": 1e-4}] * 9 + [{"selection": "random"}]
    rows = [ResultRow(f"row {i}", [Experiment(f"e{i}", "r", s, runs)]) for i, s in enumerate(settings)]
    text = written(replace(comparison, tables=[ResultTable("Many", "", [], rows)]), tmp_path)
    found = table_rows(text, "### Settings")
    assert found["row 0"] == ["as most"]
    assert found["row 9"] == ["`selection` random, no `rate`"]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "table1-accuracy",
        "table1-accuracy-tokens",
        "table1-final",
    }
    missing = "accuracy over time; entropy of the policy; length of the answers; length of the prefixes"
    assert f"Of more than 9 methods these curves are not drawn: {missing}. `results.json` has their data." in text
    assert "are not drawn" not in written(replace(comparison, tables=[ResultTable("Few", "", [], rows[:9])]), tmp_path)


@pytest.mark.parametrize(("keep", "final"), [(0, "-"), (1, r"0\.\d{3}"), (2, r"0\.\d+ \(0\.\d+ to 0\.\d+\)")])
def test_missing_runs_are_named_and_nothing_is_made_up(comparison, tmp_path, undrawn, capsys, keep, final):
    cut = cut_runs(comparison, keep, "SFT")
    text = written(cut, tmp_path)
    cells = table_rows(text, "Final accuracy, mean")["SFT"]
    assert cells[0] == str(keep)
    assert re.fullmatch(final, cells[1])
    assert f"Not all have 3 seeds: SFT ({keep or 'none'})." in text
    in_grid = table_rows(text, "Final accuracy, mean over 3 seeds")["SFT"]
    assert all(cell == "-" if keep == 0 else cell.endswith(f"(n={keep})") for cell in in_grid)
    print_summary(cut)
    assert re.search(rf"SFT +{keep} +{final}", capsys.readouterr().out)


def test_a_comparison_of_which_nothing_is_finished_has_a_report(comparison, tmp_path, undrawn):
    nothing = cut_runs(comparison, 0)
    empty = [ResultTable("Empty", "", [], []), ResultTable("Empty", "", ["a"], []), *nothing.tables]
    text = written(replace(nothing, tables=empty), tmp_path)
    assert "Accuracy before" not in text
    assert "![" not in text


def test_a_row_that_lacks_columns_has_dashes_there(comparison, tmp_path, undrawn):
    grid = comparison.tables[1]
    short = replace(grid, rows=[ResultRow("short", grid.rows[0].experiments[:1]), *grid.rows])
    text = written(replace(comparison, tables=[short]), tmp_path)
    assert table_rows(text, "Final accuracy")["short"][1] == "-"


def test_the_terminal_shows_the_first_table_uncut(comparison, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_summary(comparison)
    shown = capsys.readouterr().out
    interval = r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)"
    assert re.search(rf"Prefix-RFT <ours> \| x +3 +{interval} +0\.\d{{3}}", shown)
    assert "Not told apart from" in shown
    assert "Intervals are over seeds alone.\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    print_summary(replace(comparison, tables=comparison.tables[1:]))
    shown = capsys.readouterr().out
    assert re.search(rf"Prefix-RFT( +{interval}){{2}}", shown)
    assert "Intervals are over seeds alone. Bold: each other one is shown to be below it" in shown


@pytest.mark.parametrize("label", ["SFT", "UFT (coefficient 1)", "a label of 36 columns, which is long", "方法"])
def test_the_headline_fits_80_columns(comparison, tmp_path, undrawn, capsys, monkeypatch, label):
    monkeypatch.setenv("COLUMNS", "80")
    methods = comparison.tables[0]
    rows = [ResultRow(f"{label}{number}", row.experiments) for number, row in enumerate(methods.rows)]
    relabelled = replace(comparison, tables=[replace(methods, rows=rows)])
    text = written(relabelled, tmp_path)
    for after in ("Final accuracy, mean", "Paired difference"):
        table = re.search(r"(?:^\|.*\n)+", text[text.index(after) :], re.M)[0]
        assert max(map(len, table.splitlines())) <= 80
    print_summary(relabelled)
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 80
    assert any("final accuracy" in line and "seeds" in line for line in printed)  # not in parts


def with_lines(comparison: Comparison, label: str, lines: int = -1, **changes) -> Comparison:
    """The comparison with other values in all measurements of a method, and only some of them."""

    def changed(row: ResultRow) -> ResultRow:
        if row.label != label:
            return row
        (one,) = row.experiments
        runs = [replace(run, curve=[line | changes for line in run.curve[:lines]]) for run in one.runs]
        return ResultRow(label, [replace(one, runs=runs, settings={**one.settings, "measure_max_new_tokens": 56})])

    methods = comparison.tables[0]
    return replace(comparison, tables=[replace(methods, rows=list(map(changed, methods.rows)))])


@pytest.mark.parametrize("keep", [1, 3])
def test_where_seeds_tell_nothing_the_interval_is_that_over_problems(comparison, tmp_path, undrawn, capsys, keep):
    equal = cut_runs(with_lines(comparison, "SFT", accuracy=0.0, problems=30), keep, "SFT")
    text = written(equal, tmp_path)
    assert table_rows(text, "Final accuracy, mean")["SFT"][:2] == [str(keep), "0.000 (0.000 to 0.114)"]
    assert "A single seed, identical ones, or seeds that ended alike without a record of each problem" in text
    assert ("All seeds ended alike, so that they show no spread: SFT (all 3 at 0.000)." in text) == (keep == 3)
    assert "Held-out problems: 30." in text
    print_summary(equal)
    shown = capsys.readouterr().out
    assert "0.000 (0.000 to 0.114)" in shown
    assert "± 0.000" not in shown + text


def test_steps_that_differ_are_said_and_answers_that_were_all_cut_off(comparison, tmp_path, undrawn, capsys):
    sentence = "Steps, those of all stages together: SFT 110, RFT 120 and Prefix-RFT <ours> | x 120."
    changed = with_lines(comparison, "SFT", length=56)
    text = written(changed, tmp_path)
    assert sentence.replace("<", r"\<") in text
    assert "a larger one may change the order: SFT (100%)." in text
    print_summary(changed)
    assert sentence in " ".join(capsys.readouterr().out.split())
    text = written(comparison, tmp_path)
    assert "Steps, those" not in text
    assert "cut off" not in text


def test_a_number_of_steps_that_many_rows_have_is_said_once(comparison):
    first = comparison.tables[0]
    many = [replace(row, label=f"{row.label} {n}") for n in range(3) for row in first.rows[1:]]
    changed = with_lines(replace(comparison, tables=[replace(first, rows=[first.rows[0], *many])]), "SFT")
    assert different_steps(changed.tables[0]).endswith("together: SFT 110 and all others 120.")


@pytest.mark.parametrize(("share", "cell", "warns"), [(0.0, "0%", False), (0.08, "8%", False), (0.34, "34%", True)])
def test_the_share_of_answers_that_were_cut_off_is_a_column_and_above_a_tenth_a_warning(
    comparison, tmp_path, undrawn, share, cell, warns
):
    text = written(with_lines(comparison, "SFT", truncated=share), tmp_path)
    assert table_rows(text, "Complete runs")["SFT"][1] == cell
    assert table_rows(text, "Complete runs")["RFT"][1] == "-"
    assert ("Many answers were cut off by the budget" in text) == warns


def test_the_report_names_the_models_and_where_all_settings_are(comparison, tmp_path, undrawn):
    methods = comparison.tables[0]
    settings = [{"model_name_or_path": "a/b"}, {"sft.model_name_or_path": "c", "rft.model_name_or_path": "a/b"}]
    rows = [
        ResultRow(row.label, [replace(row.experiments[0], settings=given)])
        for row, given in zip(methods.rows, settings, strict=False)
    ]
    text = written(replace(comparison, tables=[replace(methods, rows=rows)]), tmp_path)
    assert "Model: `a/b` and `c`." in text
    assert "All settings of each run are in `results.json`" in text
    page = (tmp_path / "report.html").read_text()
    assert page.count("<details>") == 2
    assert "<summary>Methods: RFT</summary>" in page
    assert "<code>sft.model_name_or_path</code></td><td>c</td>" in page


def test_the_results_hold_settings_curves_and_summaries(comparison, report):
    text = (report / "results.json").read_text()
    found = json.loads(text)["tables"]
    experiments = [one for table in found for row in table["rows"] for one in row["experiments"]]
    summaries = [one.pop("summary") for one in experiments]
    assert summaries[0]["to_threshold"]["reached"] == summaries[0]["final"]["seeds"] == 3
    assert [table.pop("differing_settings") for table in found][1] == ["damaged", "rate"]
    assert found == asdict(comparison)["tables"]
    assert max(map(len, text.splitlines())) < 400  # one measurement per line


def test_numbers_that_json_lacks_are_null(comparison, tmp_path, undrawn):
    line = {**comparison.tables[0].rows[0].experiments[0].runs[0].curve[0], "policy_entropy": float("nan")}
    experiment = Experiment("e", "r", {"top": float("inf")}, [Run(0, [line])])
    write_report(replace(comparison, tables=[ResultTable("t", "", [], [ResultRow("label", [experiment])])]), tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())["tables"][0]["rows"][0]["experiments"][0]
    assert found["settings"]["top"] is None
    assert found["runs"][0]["curve"][0]["policy_entropy"] is None
