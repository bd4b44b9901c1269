"""Rows, shares and reasons of a conversion, in both file formats."""

import itertools
import json
import tempfile
from pathlib import Path

import pytest
from datasets import Dataset, load_dataset
from trl.data_utils import is_conversational

from prefix_rft_trl.data.convert import conversion as conversion_module
from prefix_rft_trl.data.convert.conversion import convert
from prefix_rft_trl.data.convert.options import ConversionOptions
from prefix_rft_trl.data.convert.sources.by_columns import prompt_completion
from prefix_rft_trl.data.loading import with_demonstrations
from prefix_rft_trl.data.row_scan import scan_rows
from prefix_rft_trl.method.demonstrations import parse_demonstrations


@pytest.fixture(params=["parquet", "jsonl"])
def suffix(request):
    return request.param


@pytest.fixture
def sums() -> Dataset:
    """Two hundred problems with a demonstration each."""
    sums = [(f"{number}+{number}", 2 * number) for number in range(200)]
    rows = [(f"{terms}?", f"{terms} = {total}\n\\boxed{{{total}}}", total) for terms, total in sums]
    return Dataset.from_list([dict(zip(("prompt", "completion", "solution"), row, strict=True)) for row in rows])


@pytest.fixture
def converted(tmp_path):
    """Converts a dataset, or a list of rows, each time to a new file; returns the conversion and the file."""
    numbers = itertools.count()

    def run(dataset, suffix="parquet", **options):
        dataset = Dataset.from_list(dataset) if isinstance(dataset, list) else dataset
        path = tmp_path / f"{next(numbers)}.{suffix}"
        reader = prompt_completion(dataset.column_names)
        return convert(dataset, reader, ConversionOptions(**{"instruction": "", **options}), path), path

    return run


def loaded(path):
    kind = "json" if path.suffix == ".jsonl" else "parquet"
    return load_dataset(kind, data_files=str(path), cache_dir=str(path.parent / "cache"))["train"]


def demonstrations(rows):
    """The texts of the demonstrations of each row."""
    return [[message["content"] for message in parse_demonstrations(value)] for value in rows["completion"]]


def by_prompt(path):
    rows = loaded(path)
    prompts = [prompt[0]["content"].split("\n")[0] for prompt in rows["prompt"]]
    return dict(zip(prompts, demonstrations(rows), strict=True))


def test_trl_takes_the_rows_as_messages_or_as_text(sums, converted, suffix):
    conversion, path = converted(sums, suffix)
    rows = loaded(path)
    assert conversion.rows_kept == len(rows) == 200
    assert rows.column_names == ["prompt", "completion", "solution"]
    assert rows[3] == {
        "prompt": [{"role": "user", "content": "3+3?"}],
        "completion": [{"role": "assistant", "content": "3+3 = 6\n\\boxed{6}"}],
        "solution": "6",
    }
    assert all(is_conversational({key: row[key]}) for row in rows for key in ("prompt", "completion"))
    rows = loaded(converted(sums, suffix, plain_text=True)[1])
    assert rows[3] == {"prompt": "3+3?", "completion": "3+3 = 6\n\\boxed{6}", "solution": "6"}


@pytest.mark.parametrize("plain_text", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.333, 1.0])
def test_a_share_of_the_problems_keeps_its_demonstrations_and_none_is_dropped(
    sums, converted, suffix, share, plain_text
):
    conversion, path = converted(sums, suffix, demonstrated_share=share, plain_text=plain_text)
    rows = loaded(path)
    assert len(rows) == 200
    assert conversion.rows_demonstrated == sum(map(bool, demonstrations(rows))) == round(share * 200)
    assert scan_rows(rows, "completion").number("no_demonstration") == 200 - round(share * 200)
    for_sft = with_demonstrations(rows, "completion")
    assert len(for_sft) == round(share * 200)
    assert is_conversational(for_sft[0]) != plain_text


@pytest.mark.parametrize("plain_text", [False, True])
def test_many_rows_without_a_demonstration_do_not_hide_the_column_type(converted, suffix, plain_text):
    """JSON is typed by its first megabytes, which may hold none."""
    filler = "What? " * 5000
    source = [{"prompt": f"{filler}{row}", "completion": [""], "solution": "1"} for row in range(500)]
    source += [{"prompt": "last", "completion": ["one", "two"], "solution": "1"}]
    rows = loaded(converted(source, suffix, plain_text=plain_text)[1])
    assert demonstrations(rows) == [[]] * 500 + [["one", "two"]]


def test_several_demonstrations_are_a_list_in_every_row_and_one_is_not(converted, suffix):
    source = [
        {"prompt": "a", "completion": ["one"], "solution": ["1"]},
        {"prompt": "b", "completion": ["one", "two"], "solution": ["1", "uno"]},
        {"prompt": "c", "completion": [], "solution": ["1"]},
    ]
    conversion, path = converted(source, suffix)
    rows = loaded(path)
    assert demonstrations(rows) == [["one"], ["one", "two"], []]
    assert rows["completion"][0] == [[{"role": "assistant", "content": "one"}]]
    assert list(rows["solution"]) == [["1"], ["1", "uno"], ["1"]]
    assert (conversion.rows_demonstrated, conversion.demonstrations) == (2, 3)
    assert conversion.tally.noted["no demonstration in the source"].row == 2
    _, path = converted(source, suffix, max_demonstrations=1)
    assert loaded(path)["completion"][1] == [{"role": "assistant", "content": "one"}], "what SFT of TRL takes"


def test_the_same_command_makes_the_same_file(sums, converted, suffix):
    first, second, other = (
        converted(sums, suffix, demonstrated_share=0.5, corrupted_share=0.5, seed=seed)[1].read_bytes()
        for seed in (0, 0, 1)
    )
    assert first == second != other


def test_no_intermediate_file_is_left_behind(sums, converted, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    _, path = converted(sums, corrupted_share=0.5)
    assert sorted(tmp_path.iterdir()) == sorted([path, scratch])
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_a_share_of_the_demonstrations_ends_in_a_wrong_answer(sums, converted, share):
    conversion, path = converted(sums, corrupted_share=share)
    rows = loaded(path)
    wrong = [
        f"\\boxed{{{gold}}}" not in text for gold, (text,) in zip(rows["solution"], demonstrations(rows), strict=True)
    ]
    assert sum(wrong) == conversion.corrupted == round(share * 200)


def test_a_part_of_the_dataset_or_another_instruction_is_ablated_alike(sums, converted):
    options = {"demonstrated_share": 0.5, "corrupted_share": 1.0}
    every = by_prompt(converted(sums, **options)[1])
    some = by_prompt(converted(sums.select(range(199, 99, -1)), **options, instruction="Box it.")[1])
    demonstrated = [{prompt for prompt in some if found[prompt]} for found in (every, some)]
    assert demonstrated[0] <= demonstrated[1] or demonstrated[1] <= demonstrated[0]
    both = demonstrated[0] & demonstrated[1]
    assert len(both) > 35
    assert all(every[prompt] == some[prompt] for prompt in both)


def test_a_smaller_share_is_a_subset_of_a_larger_one(sums, converted):
    small, large = (
        {prompt for prompt, texts in by_prompt(converted(sums, demonstrated_share=share)[1]).items() if texts}
        for share in (0.1, 0.4)
    )
    assert small < large


def test_problems_with_the_same_answer_go_wrong_differently(converted):
    source = [{"prompt": f"{row}?", "completion": "\\boxed{500}", "solution": "500"} for row in range(20)]
    _, path = converted(source, corrupted_share=1)
    assert len({text for (text,) in demonstrations(loaded(path))}) > 10


def test_others_replace_demonstrations_that_cannot_be_corrupted(converted):
    source = [{"prompt": f"{row}?", "completion": f"\\boxed{{{row}}}", "solution": str(row)} for row in range(6)]
    source += [{"prompt": f"x{row}?", "completion": "\\boxed{x}", "solution": "x"} for row in range(4)]
    conversion, _ = converted(source, corrupted_share=0.5)
    assert (conversion.corrupted, conversion.shortfall) == (5, 0)
    assert conversion.tally.noted["demonstrations that cannot be corrupted"].number == 4
    conversion, _ = converted(source, corrupted_share=1)
    assert (conversion.corrupted, conversion.shortfall) == (6, 4)


def test_a_corrupted_answer_that_the_verifier_finds_right_is_not_used(converted, monkeypatch):
    asked = []

    def confirm_wrong(answers, golds):
        asked.extend(zip(answers, golds, strict=True))
        return [right != [r"\frac{0}{5}"] for right in golds]

    monkeypatch.setattr(conversion_module, "confirm_wrong", confirm_wrong)
    golds = [r"\frac{0}{5}", r"\frac{3}{4}", "7"]
    source = [{"prompt": gold, "completion": f"\\boxed{{{gold}}}", "solution": gold} for gold in golds]
    conversion, path = converted(source, corrupted_share=1)
    assert [right for _, right in asked] == [[gold] for gold in golds[:2]], "a plain number needs no verifier"
    texts = demonstrations(loaded(path))
    assert conversion.corrupted == 2
    assert texts[0] == [r"\boxed{\frac{0}{5}}"]
    assert texts[1] == [f"\\boxed{{{asked[1][0]}}}"]


def test_dropped_rows_are_counted_by_reason_with_the_first_of_them(converted):
    source = [
        {"prompt": "1+1?", "completion": "2", "solution": "2"},
        {"prompt": " ", "completion": "2", "solution": "2"},
        {"prompt": "3+3?", "completion": "6", "solution": None},
        {"prompt": " 1+1?\n", "completion": "two", "solution": "2"},
        {"prompt": "1+1?", "completion": "3", "solution": "3"},
        {"prompt": "5+5?", "completion": "10", "solution": ""},
        {"prompt": "3+3?", "completion": "6", "solution": "6"},
    ]
    conversion, path = converted(source)
    dropped = {reason: (found.number, found.row, found.example) for reason, found in conversion.tally.dropped.items()}
    assert dropped == {
        "no problem": (1, 1, ""),
        "no answer": (2, 2, "3+3?"),
        "the problem of an earlier row": (1, 3, "as row 0: 1+1?"),
        "the problem of an earlier row, with another answer": (1, 4, "as row 0: 1+1?"),
    }
    assert demonstrations(loaded(path)) == [["2"], ["6"]], "a dropped row does not make a later one a duplicate"


def test_a_problem_repeated_thousands_of_rows_later_is_dropped(converted):
    source = [{"prompt": f"{row % 1500}?", "completion": "1", "solution": "1"} for row in range(1501)]
    conversion, _ = converted(source)
    assert conversion.rows_kept == 1500
    assert conversion.tally.dropped["the problem of an earlier row"].row == 1500


@pytest.mark.parametrize("rows", [7, 120])
def test_reading_stops_when_enough_rows_are_kept(sums, converted, rows, monkeypatch):
    monkeypatch.setattr(conversion_module, "ROWS_PER_BATCH", 50)
    conversion, path = converted(sums, max_rows=rows, demonstrated_share=0.5)
    found = (conversion.tally.rows_read, conversion.rows_kept, conversion.rows_demonstrated)
    assert found == (rows, rows, round(rows / 2))
    assert len(loaded(path)) == rows


def test_demonstrations_of_nothing_but_thinking_are_left_out(converted):
    source = [
        {"prompt": "a", "completion": ["<think>cut", "<think>x</think>1"], "solution": "1"},
        {"prompt": "b", "completion": ["<think>cut"], "solution": "1"},
    ]
    conversion, path = converted(source, thinking="strip")
    assert demonstrations(loaded(path)) == [["1"]]
    assert conversion.tally.left_out["nothing outside its thinking"].number == 1
    assert conversion.tally.dropped["no demonstration with anything outside its thinking"].row == 1


def test_token_limits_drop_prompts_and_demonstrations(converted, byte_tokenizer):
    tokenizer = byte_tokenizer(chat_template="{{ 'Q:' + messages[0]['content'] }}")
    rows = {"1+1": ["w" * 5], "1+1?": ["w"], "1": ["w" * 6, "w" * 4, "w" * 7, "x"], "2": ["w" * 6], "3": []}
    source = [{"prompt": prompt, "completion": texts, "solution": "1"} for prompt, texts in rows.items()]
    limits = {"tokenizer": tokenizer, "max_prompt_tokens": 5, "max_demonstration_tokens": 5}
    conversion, path = converted(source, **limits)
    assert by_prompt(path) == {"1+1": ["w" * 5], "1": ["w" * 4, "x"], "3": []}
    dropped = {reason: count.row for reason, count in conversion.tally.dropped.items()}
    assert dropped == {"a prompt longer than 5 tokens": 1, "every demonstration longer than 5 tokens": 3}
    assert conversion.tally.left_out["longer than 5 tokens"].number == 2
    _, path = converted(source, max_demonstrations=1, **limits)
    assert by_prompt(path)["1"] == ["w" * 4], "the first of those that fit"


def test_other_scripts_and_slashes_stay_readable_in_jsonl(converted):
    source = [{"prompt": "一加一?", "completion": "π ≈ 22/7", "solution": "三"}]
    line = Path(converted(source, "jsonl", plain_text=True)[1]).read_text("utf-8")
    assert "一加一" in line
    assert "22/7" in line
    assert json.loads(line)["completion"] == "π ≈ 22/7"


@pytest.mark.parametrize(
    "options",
    [{"corrupted_share": 1.1}, {"demonstrated_share": -0.1}, {"seed": -1}, {"max_rows": 0}, {"max_demonstrations": 0},
     {"thinking": "<t>"}],
)  # fmt: skip
def test_an_option_out_of_range_is_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ConversionOptions(**options)
