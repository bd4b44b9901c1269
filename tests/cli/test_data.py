"""`prefix-rft data` on files, as a user runs it."""

import json
import re

import pytest
from datasets import load_dataset

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.data.convert import conversion
from prefix_rft_trl.data.convert.sources import SOURCES
from prefix_rft_trl.data.loading import load_splits
from prefix_rft_trl.method.demonstrations import parse_demonstrations
from prefix_rft_trl.utils import renamed


GSM8K = [
    {"question": "Two and two?", "answer": "2+2 = <<2+2=4>>4 in all.\n#### 4"},
    {"question": "A thousand and [one]?", "answer": "1,000+1 = <<1000+1=1001>>1,001\n#### 1,001"},
    {"question": "Nothing [b] :smile:?", "answer": "There is no answer."},
    {"question": "Two and two?", "answer": "Four.\n#### 4"},
]
BOX = "Please reason step by step, and put your final answer within \\boxed{}"
MARK = "Please reason step by step, and put your final answer after ####"


def data(*arguments: object) -> int:
    return main(["data", *map(str, arguments)])


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def gsm8k(tmp_path):
    return written(tmp_path / "gsm8k.jsonl", GSM8K)


@pytest.fixture
def convert(tmp_path):
    """Converts rows of a source to a file in a new folder; returns the rows made."""
    output = tmp_path / "new" / "made.jsonl"

    def run(source: str, rows: list[dict], *flags: object) -> list[dict]:
        files = ["--input", written(tmp_path / "rows.jsonl", rows), "--output", output]
        assert data(source, *files, *(["--overwrite"] if output.exists() else []), *flags) == 0
        return [json.loads(line) for line in output.read_text("utf-8").splitlines()]

    return run


def test_gsm8k_becomes_rows_and_a_table_reports_what_was_dropped(capsys, tmp_path, convert):
    assert convert("gsm8k", GSM8K) == [
        {
            "prompt": [{"role": "user", "content": f"{question}\n{BOX}"}],
            "completion": [{"role": "assistant", "content": text}],
            "solution": solution,
        }
        for question, text, solution in [
            ("Two and two?", "2+2 = 4 in all.\n\\boxed{4}", "4"),
            ("A thousand and [one]?", "1,000+1 = 1,001\n\\boxed{1001}", "1001"),
        ]
    ]
    shown = capsys.readouterr()
    table = {" ".join(line.split()) for line in shown.out.splitlines()}
    assert {"rows read 4", "rows dropped 2", "rows kept 2", "with a demonstration 2"} <= table
    assert "no answer after #### 1 row 2: Nothing [b] :smile:?" in table
    assert "the problem of an earlier row 1 row 3: as row 0: Two and two?" in table
    assert str(tmp_path / "new" / "made.jsonl") in shown.out
    assert "Reading: 100%" in shown.err
    assert "Writing: 100%" in shown.err


def test_flags_of_prompts_and_demonstrations_reach_the_rows(convert):
    rows = [
        {"q": "1+1?", "worked": "<think>x</think>\\boxed{2}", "a": {"gold": 2}},
        {"q": "2+2?", "worked": "\\boxed{4}", "a": {"gold": 4}},
    ]
    flags = ["--prompt_column", "q", "--demonstration_column", "worked", "--answer_column", "a.gold"]
    flags += ["--system_prompt", "Think.", "--instruction", "Box it.", "--plain_text", "--thinking", "strip"]
    flags += ["--max_rows", 1]
    expected = [{"prompt": "Think.\n\n1+1?\nBox it.", "completion": "\\boxed{2}", "solution": "2"}]
    assert convert("columns", rows, *flags) == expected


@pytest.mark.parametrize(
    ("source", "flags", "prompt", "end"),
    [
        ("gsm8k", [], f"1+1?\n{BOX}", "\\boxed{2}"),
        ("gsm8k", ["--keep_mark"], f"1+1?\n{MARK}", "\n#### 2"),
        ("gsm8k", ["--keep_mark", "--instruction", ""], "1+1?", "\n#### 2"),
        ("columns", [], "1+1?", "\n#### 2"),
        ("columns", ["--instruction", BOX], f"1+1?\n{BOX}", "\n#### 2"),
        ("prompt-completion", [], "1+1?", "\n#### 2"),
    ],
)
def test_each_source_has_its_own_instruction_by_default(convert, source, flags, prompt, end):
    worked = "It is 2.\n#### 2"
    rows = [{"question": "1+1?", "answer": worked, "prompt": "1+1?", "completion": worked, "solution": "2"}]
    (row,) = convert(source, rows, *flags)
    assert row["prompt"] == [{"role": "user", "content": prompt}]
    assert row["completion"][0]["content"].endswith(end)


def test_the_screen_shows_what_was_appended_and_a_row(capsys, convert):
    rows = [
        {"prompt": f"{row}+1?", "completion": f"So.\n#### {row + 1}", "solution": str(row + 1)} for row in range(3)
    ]
    convert("columns", rows)
    shown = capsys.readouterr()
    assert "Nothing was appended to the prompts.\n3 of 3 demonstrations have no \\boxed{}" in shown.out
    assert "warning" not in shown.err
    convert("columns", rows, "--instruction", BOX, "--system_prompt", "Think.")
    shown = capsys.readouterr()
    assert f"Appended to each prompt (--instruction): {BOX}\n" in shown.out
    assert "In front of each prompt (--system_prompt): Think.\n" in shown.out
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    row = lines.index("prompt system: Think.")
    assert lines[row + 1] == "user: 0+1?"
    assert " ".join(lines[row + 2 : row + 4]) == BOX
    assert lines[row + 4 : row + 7] == ["completion assistant: So.", "#### 1", "solution 1"]
    assert "answers in another form than asked for 3 row 0: 0+1?" in lines
    assert "warning: --instruction asks for \\boxed{}, and 3 of 3 demonstrations have no" in shown.err


@pytest.mark.parametrize("form", [["--demonstrations", "0.4"], ["--demonstrations=0.4"]])
def test_old_names_of_flags_are_accepted_with_a_line(capsys, convert, form):
    renamed.say_new_name.cache_clear()
    rows = [{"question": f"{row}+1?", "answer": f"#### {row + 1}"} for row in range(10)]
    assert convert("gsm8k", rows, *form) == convert("gsm8k", rows, "--demonstrated_share", 0.4)
    assert capsys.readouterr().err.count("`demonstrations` is now called `demonstrated_share`") == 1


def test_ablations_are_shares_from_a_seed(capsys, convert):
    rows = [{"question": f"{row}+{row}?", "answer": f"{2 * row}\n#### {2 * row}"} for row in range(50)]
    made = {}
    for seed in (0, 1):
        made[seed] = convert("gsm8k", rows, "--demonstrated_share", 0.4, "--corrupted_share", 0.5, "--seed", seed)
        found = [(row, parse_demonstrations(row["completion"])) for row in made[seed]]
        assert len(found) == 50
        shown = [(row, texts[0]["content"]) for row, texts in found if texts]
        assert len(shown) == 20
        assert sum(f"\\boxed{{{row['solution']}}}" not in text for row, text in shown) == 10
    assert made[0] != made[1]
    assert "corrupted 10" in " ".join(capsys.readouterr().out.split())


def test_a_share_of_the_problems_goes_to_a_file_of_its_own(capsys, tmp_path):
    rows = [{"question": f"{number}{end}?", "answer": "1\n#### 1"} for number in range(20) for end in ("  a", " A")]
    source = written(tmp_path / "rows.jsonl", rows)
    flags = ["--input", source, "--test_share", 0.25, "--plain_text", "--corrupt", 0.5]
    made = []
    for output, more in (("one", []), ("two.jsonl", []), ("three.jsonl", ["--instruction", "", "--test_seed", 1])):
        assert data("gsm8k", *flags, "--output", tmp_path / output, *more) == 0
        folder = tmp_path / output.removesuffix(".jsonl")
        assert f"`dataset_name: {folder}`" in " ".join(capsys.readouterr().out.split())
        splits = load_splits(str(folder))
        problems = {split: [prompt.split()[0] for prompt in rows["prompt"]] for split, rows in splits.items()}
        assert {split: len(found) for split, found in problems.items()} == {"test": 10, "train": 30}
        assert not set(problems["train"]) & set(problems["test"])
        corrupted = {split: sum("{1}" not in text for text in rows["completion"]) for split, rows in splits.items()}
        assert corrupted == {"test": 0, "train": 15}
        made.append(problems)
    assert made[0] == made[1] != made[2]


def test_lengths_are_counted_with_a_tokenizer(capsys, convert, base_model):
    values = [("1+1=", "1+1=2;#2", "2"), ("1+1+1=", "#3", "3"), ("2+2=", "2+2=4;2+2=4;#4", "4")]
    rows = [dict(zip(("prompt", "completion", "solution"), value, strict=True)) for value in values]
    flags = ["--tokenizer", base_model, "--max_prompt_tokens", 4, "--max_demonstration_tokens", 8, "--plain_text"]
    assert [row["prompt"] for row in convert("prompt-completion", rows, *flags)] == ["1+1="]
    shown = capsys.readouterr().out
    assert "a prompt longer than 4 tokens" in shown
    assert "every demonstration longer than 8 tokens" in shown


def test_the_trainer_takes_the_converted_rows(tmp_path, make_trainer):
    output = tmp_path / "lab.parquet"
    flags = ["--plain_text", "--demonstrated_share", 0.5, "--max_rows", 20]
    assert data("prompt-completion", "--input", "lab", "--output", output, *flags) == 0
    dataset = load_dataset("parquet", data_files=str(output))["train"]
    assert len(make_trainer(train_dataset=dataset, max_completion_length=56).train_dataset) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gsm9k"], r"no source 'gsm9k'. Did you mean 'gsm8k'\? Known: openr1-math, gsm8k, math, .*columns"),
        (["gsm8k", "--input", "GSM8K", "--output", "made.csv"], r"\.parquet or \.jsonl, found 'made.csv'"),
        (["gsm8k", "--input", "GSM8K", "--output", "GSM8K"], "gsm8k.jsonl' exists already.*--overwrite"),
        (["gsm8k", "--input", "GSM8K", "--output", "folder.jsonl", "--overwrite"], "is a folder"),
        (["gsm8k", "--input", "GSM8K", "--output", "GSM8K", "--overwrite"], "the output is the input"),
        (["gsm8k", "--input", "nowhere.jsonl"], "no dataset file 'nowhere.jsonl'"),
        (["gsm8k", "--input", "GSM8K", "--split", "dev"], "no split 'dev'; it has: train"),
        (["gsm8k", "--input", "GSM8K", "--config", "main"], "--config is for datasets on the Hub"),
        (["math", "--input", "GSM8K"], "'problem', 'solution'.*it has: question, answer"),
        (["math", "--input", "GSM8K", "--keep_mark"], "--keep_mark is for gsm8k, not for math"),
        (["columns"], "columns needs --input"),
        (["gsm8k", "--input", "GSM8K", "--max_prompt_tokens", "9"], "--max_prompt_tokens counts tokens.*--tokenizer"),
        (
            ["gsm8k", "--input", "GSM8K", "--corrupted_share", "30"],
            "`corrupted_share` must be between 0 and 1, found 30",
        ),
        (["gsm8k", "--input", "GSM8K", "--thinking", "<r>"], "tag name"),
        (["gsm8k", "--input", "BROKEN"], "broken.jsonl, line 1 is not JSON"),
        (["gsm8k", "--input", "EMPTY"], "no row is left, so nothing was written"),
        (["gsm8k", "--input", "EMPTY", "--output", "GSM8K", "--overwrite"], "no row is left, so nothing was written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_sentence_and_changes_no_file(capsys, monkeypatch, tmp_path, gsm8k, arguments, message):
    monkeypatch.chdir(tmp_path)
    files = {
        "GSM8K": gsm8k,
        "BROKEN": tmp_path / "broken.jsonl",
        "EMPTY": written(tmp_path / "empty.jsonl", [{"question": "", "answer": "#### 1"}]),
    }
    files["BROKEN"].write_text('{"question": 3')
    (tmp_path / "folder.jsonl").mkdir()
    before = contents(tmp_path)
    arguments = [str(files.get(argument, argument)) for argument in arguments]
    if "--output" not in arguments:
        arguments += ["--output", "made.jsonl"]
    assert data(*arguments) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert re.search(message, error), error
    assert contents(tmp_path) == before


def contents(folder):
    return {path.name: path.is_file() and path.read_text("utf-8") for path in folder.iterdir()}


def test_a_failure_while_writing_leaves_the_old_file(monkeypatch, tmp_path, gsm8k):
    output = tmp_path / "made.jsonl"
    output.write_text("old")

    def failing(rows, path):
        path.write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(conversion, "write_rows", failing)
    assert data("gsm8k", "--input", gsm8k, "--output", output, "--overwrite") == 2
    assert contents(tmp_path) == {gsm8k.name: gsm8k.read_text(), output.name: "old"}


def test_help_lists_sources_and_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        data("--help")
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for expected in (*SOURCES, "Elliott/Openr1-Math-46k-8192", BOX, "check"):
        assert expected in shown
