"""Help and tables at 80 columns, measured: nothing is cut off, and nothing is wider than the terminal."""

import argparse
from dataclasses import replace

import pytest
from rich.cells import cell_len

from prefix_rft_trl.cli.main import COMMANDS, main
from prefix_rft_trl.comparison.rendering import ReportTable
from prefix_rft_trl.comparison.rendering import print_table as print_report_table
from prefix_rft_trl.evaluation.eval_report import Difference, differences_table, scores_table
from prefix_rft_trl.evaluation.scores import Scores
from prefix_rft_trl.utils.intervals import Estimate
from prefix_rft_trl.utils.tables import fill_paragraphs, print_table


LONG = "runs/eval/qwen2.5-math-7b-prefix-rft-with-a-name-that-nobody-wants-to-type"
JAPANESE = "数学の問題を解くモデル" * 4
SUBCOMMANDS = [["recipes", name] for name in ("show", "copy", "model")] + [["data", "check"], ["data", "columns"]]
HELP = [[], *([command] for command in COMMANDS), *SUBCOMMANDS]


@pytest.fixture(params=[80])
def shown(request, monkeypatch, capsys):
    """What was printed, after a check that it fits."""
    monkeypatch.setenv("COLUMNS", str(request.param))

    def read() -> str:
        text = capsys.readouterr().out
        wide = [line for line in text.splitlines() if cell_len(line) > request.param]
        assert wide == []
        return text

    return read


def unfolded(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_help_fits(command, shown):
    try:
        code = main([*command, "--help"])
    except SystemExit as stop:
        code = stop.code or 0
    assert code == 0
    assert "usage: prefix-rft" in shown()


def test_a_parser_of_its_own_formatter_would_be_found(shown, capsys):
    parser = argparse.ArgumentParser("x", description="word " * 30, formatter_class=argparse.RawTextHelpFormatter)
    parser.print_help()
    with pytest.raises(AssertionError):
        shown()


def scores(number: int) -> Scores:
    mean = Estimate(0.7125, 0.0131, 1500)
    return Scores(1500, 12, number, mean, [0.5] * number, 0.8, 0.998, 0.25, 1834.0, [0.5], [0], {})


@pytest.mark.parametrize("shown", [60, 80, 120], indirect=True)
@pytest.mark.parametrize("name", [LONG, JAPANESE, "lab"], ids=["long", "wide characters", "short"])
def test_tables_of_eval_fit_with_every_figure(name, shown):
    print_table(scores_table({name: {"olympiadbench": scores(512), "aime24": scores(64)}}, [2, 8, 64, 512]))
    text = shown()
    lines = text.splitlines()
    end = lines[1].index("benchmark")
    assert name == JAPANESE or f"{name}{name}" in unfolded("".join(line[:end] for line in lines))
    for figure in ("1500 of 1512", "71.2 ± 1.3", "pass@512", "99.8", "25.0", "1834"):
        assert text.count(figure) == (1 if figure.startswith("pass") else 2), figure


@pytest.mark.parametrize("shown", [60, 80], indirect=True)
def test_table_of_two_long_names_fits(shown):
    found = [
        Difference("math500", (Estimate(0.5, 0.04, 500), Estimate(0.75, 0.04, 500), Estimate(0.25, 0.0312, 500)), [])
    ]
    print_table(differences_table(LONG, f"{LONG}-2", found))
    text = shown()
    assert all(figure in text for figure in ("50.0", "75.0", "+25.0 ± 3.1"))


@pytest.mark.parametrize("numbers", [True, False])
def test_tables_of_a_comparison_fit_with_their_caption_once(numbers, shown):
    header = ["", "seeds", "final accuracy", "best", "reach 0.9", "at step", "generated", "trained", "after"]
    row = [LONG, "3", "0.912 ± 0.013", "0.934", "3 of 3", "120", "1.24M", "412k", "1,204 s"]
    table = ReportTable("what the columns mean", header, [row, [JAPANESE, *row[1:]]], bold={(0, 2)}, numbers=numbers)
    print_report_table(table)
    text = shown()
    assert unfolded(text).count("whatthecolumnsmean") == 1
    if numbers:
        assert all(text.count(cell) == 2 for cell in row[2:])
    print_report_table(replace(table, rows=[]))
    assert "final accuracy" in shown() or not numbers


def test_table_of_data_check_fits(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / f"{'rows' * 20}.jsonl"
    file.write_text('{"prompt": "1+1=", "completion": "#3", "solution": "2"}\n' * 3)
    assert main(["data", "check", str(file), "--answer_markers", "#", "--examples", "0", "--benchmarks"]) == 1
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("finding"))
    table = lines[start : lines.index("", start)]  # below are sentences, which the terminal wraps
    assert len(table) > 5
    assert max(map(len, table)) <= 80
    assert any("100.0%" in line for line in table)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two\nthree\n\nfour", "one two\nthree\n\nfour"),
        ("one two three\nfour", "one two\nthree four"),
        ("title:\n  a command --flag", "title:\n  a command\n    --flag"),
        ("", ""),
        ("a-very-long-word-indeed", "a-very-long-word-indeed"),
        ("\n  indented\nnot", "\n  indented\nnot"),
    ],
)
def test_paragraphs_are_filled_and_indented_lines_stay(text, expected):
    assert fill_paragraphs(text, 11) == expected
