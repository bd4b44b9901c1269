"""Benchmarks from files, folders and the Hub."""

import json

import pytest

from prefix_rft_trl.data import benchmarks
from prefix_rft_trl.data.benchmarks import BENCHMARKS, BenchmarkProblem, find_benchmarks, load_benchmark, read_problems


@pytest.fixture
def write(tmp_path):
    def to(name: str, *rows) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return str(path)

    return to


def test_the_six_benchmarks_of_the_paper_are_known():
    assert set(BENCHMARKS) == {"aime24", "aime25", "amc", "math500", "minerva", "olympiadbench"}


def test_a_local_file_takes_precedence_over_the_hub(write, tmp_path, monkeypatch):
    write("math_benchmarks/amc.jsonl", {"problem": "1+1?", "answer": 2.0})
    monkeypatch.setenv("PREFIX_RFT_DATA", str(tmp_path))
    assert load_benchmark("amc") == [BenchmarkProblem("1+1?", 2.0)]
    assert find_benchmarks(["amc"]) == {"amc": [BenchmarkProblem("1+1?", 2.0)]}


def test_hub_datasets_are_read_by_their_own_columns(monkeypatch):
    monkeypatch.delenv("PREFIX_RFT_DATA", raising=False)
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        return {"question": ["1+1?", "2+2?"], "final_answer": [["2"], ["4"]], "solution": [[""], [""]]}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert load_benchmark("olympiadbench") == [BenchmarkProblem("1+1?", ["2"]), BenchmarkProblem("2+2?", ["4"])]
    assert asked == [("math-ai/olympiadbench", None, "test")]


def test_a_folder_gives_all_its_files(write, tmp_path):
    write("b.jsonl", {"question": "B?", "solution": "2"}, "", {"prompt": [{"role": "user", "content": "C?"}]})
    write("a.jsonl", {"problem": "A?", "answer": "1"})
    assert find_benchmarks([str(tmp_path)]) == {
        "a": [BenchmarkProblem("A?", "1")],
        "b": [BenchmarkProblem("B?", "2"), BenchmarkProblem("C?", None)],
    }


def test_only_line_breaks_separate_lines(write):
    assert read_problems(write("a.jsonl", '{"problem": "one\u2028two"}')) == [BenchmarkProblem("one\u2028two", None)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{broken"], r"a\.jsonl, line 1: not JSON"),
        ([{"problem": "1?"}, ["x"]], r"line 2: expected an object"),
        ([{"text": "1?"}], r"line 1: no problem.*found: text"),
        ([], "is empty"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(write, rows, message):
    with pytest.raises(ValueError, match=message):
        read_problems(write("a.jsonl", *rows))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("math50", "Did you mean 'math500'"),
        ("nothing.jsonl", "no benchmark file 'nothing.jsonl'"),
        (".", "'.' .* holds no JSONL file"),
    ],
)
def test_a_source_without_a_benchmark_is_named(source, message, monkeypatch, tmp_path):
    monkeypatch.delenv("PREFIX_RFT_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_benchmarks([source])


def test_local_files_have_the_registered_number_of_problems():
    folder = benchmarks.local_folder()
    if folder is None:
        pytest.skip("PREFIX_RFT_DATA names no folder with benchmarks")
    for name, problems in find_benchmarks([str(folder)]).items():
        assert len(problems) == BENCHMARKS[name].rows
