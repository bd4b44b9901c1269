import json

import pytest
from datasets import Dataset, load_dataset
from trl.data_utils import is_conversational

from prefix_rft_trl.data.convert import conversion as ablating
from prefix_rft_trl.data.convert.conversion import convert
from prefix_rft_trl.data.convert.options import Settings
from prefix_rft_trl.data.convert.sources.by_columns import prompt_completion
from prefix_rft_trl.data.loading import with_demonstrations
from prefix_rft_trl.method.demonstrations import check_demonstrations, parse_demonstrations


def converted(dataset, tmp_path, suffix="parquet", **settings):
    path = tmp_path / f"made.{suffix}"
    reader = prompt_completion(dataset.column_names)
    outcome = convert(dataset, reader, Settings(**{"instruction": "", **settings}), path)
    return outcome, path


def loaded(path):
    kind = "json" if path.suffix == ".jsonl" else "parquet"
    return load_dataset(kind, data_files=str(path), cache_dir=str(path.parent / "cache"))["train"]


def contents(rows):
    """The demonstrations of each row."""
    return [[message["content"] for message in parse_demonstrations(value)] for value in rows["completion"]]


@pytest.fixture(params=["parquet", "jsonl"])
def suffix(request):
    return request.param


def test_rows_are_messages_that_trl_takes_as_they_are(sums, tmp_path, suffix):
    outcome, path = converted(sums, tmp_path, suffix)
    rows = loaded(path)
    assert outcome.rows_kept == len(rows) == 200
    assert rows.column_names == ["prompt", "completion", "solution"]
    assert rows[3] == {
        "prompt": [{"role": "user", "content": "3+3?"}],
        "completion": [{"role": "assistant", "content": "3+3 = 6\n\\boxed{6}"}],
        "solution": "6",
    }
    assert all(is_conversational({key: row[key]}) for row in rows for key in ("prompt", "completion"))


def test_plain_text_is_text(sums, tmp_path, suffix):
    rows = loaded(converted(sums, tmp_path, suffix, plain_text=True)[1])
    assert rows[3] == {"prompt": "3+3?", "completion": "3+3 = 6\n\\boxed{6}", "solution": "6"}


@pytest.mark.parametrize("plain_text", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.333, 1.0])
def test_a_share_of_the_problems_keeps_its_demonstrations_and_all_stay(sums, tmp_path, suffix, share, plain_text):
    outcome, path = converted(sums, tmp_path, suffix, demonstrated_share=share, plain_text=plain_text)
    rows = loaded(path)
    assert len(rows) == 200
    assert outcome.rows_demonstrated == round(share * 200)
    assert sum(map(bool, contents(rows))) == round(share * 200)
    assert check_demonstrations(rows, "completion") == 200 - round(share * 200)
    for_sft = with_demonstrations(rows, "completion")
    assert len(for_sft) == round(share * 200)
    assert is_conversational(for_sft[0]) != plain_text


@pytest.mark.parametrize("plain_text", [False, True])
def test_rows_without_a_demonstration_do_not_hide_the_form_of_the_others(tmp_path, suffix, plain_text):
    """JSON is typed by its first megabytes, which may be all without."""
    filler = "What? " * 5000
    rows = [{"prompt": f"{filler}{row}", "completion": "", "solution": "1"} for row in range(500)]
    rows += [{"prompt": "last", "completion": ["one", "two"], "solution": "1"}]
    source = Dataset.from_list([{**row, "completion": [row["completion"]]} for row in rows[:-1]] + rows[-1:])
    found = loaded(converted(source, tmp_path, suffix, plain_text=plain_text)[1])
    assert contents(found) == [[]] * 500 + [["one", "two"]]


def test_several_demonstrations_are_a_list_in_every_row(tmp_path, suffix):
    source = Dataset.from_list(
        [
            {"prompt": "a", "completion": ["one"], "solution": ["1"]},
            {"prompt": "b", "completion": ["one", "two"], "solution": ["1", "uno"]},
            {"prompt": "c", "completion": [], "solution": ["1"]},
        ]
    )
    outcome, path = converted(source, tmp_path, suffix)
    rows = loaded(path)
    assert contents(rows) == [["one"], ["one", "two"], []]
    assert rows["completion"][0] == [[{"role": "assistant", "content": "one"}]]
    assert list(rows["solution"]) == [["1"], ["1", "uno"], ["1"]]
    assert (outcome.rows_demonstrated, outcome.demonstrations) == (2, 3)
    assert outcome.tally.noted["no demonstration in the source"].row == 2


def test_the_first_demonstrations_alone_are_what_trl_sft_takes(tmp_path):
    source = Dataset.from_list([{"prompt": "b", "completion": ["one", "two"], "solution": "1"}])
    _, path = converted(source, tmp_path, max_demonstrations=1)
    assert loaded(path)["completion"][0] == [{"role": "assistant", "content": "one"}]


def test_the_same_command_makes_the_same_file(sums, tmp_path, suffix):
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        settings = {"demonstrated_share": 0.5, "damaged_share": 0.5}
        made.append(converted(sums, tmp_path / name, suffix, **settings)[1].read_bytes())
    assert made[0] == made[1]
    (tmp_path / "third").mkdir()
    assert made[0] != converted(sums, tmp_path / "third", suffix, seed=1, **settings)[1].read_bytes()


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_a_share_of_the_demonstrations_ends_in_a_wrong_answer(sums, tmp_path, share):
    outcome, path = converted(sums, tmp_path, damaged_share=share)
    rows = loaded(path)
    wrong = [
        f"\\boxed{{{gold}}}" not in texts[0] for gold, texts in zip(rows["solution"], contents(rows), strict=True)
    ]
    assert sum(wrong) == outcome.damaged == round(share * 200)


def test_fewer_problems_or_another_instruction_do_not_move_the_draws(sums, tmp_path):
    """So that runs on parts of a dataset, or with other prompts, are ablated alike."""
    every, some = ({}, {})
    for found, dataset, instruction in ((every, sums, ""), (some, sums.select(range(199, 99, -1)), "Box it.")):
        folder = tmp_path / str(len(dataset))
        folder.mkdir()
        settings = {"demonstrated_share": 0.5, "damaged_share": 1.0, "instruction": instruction}
        rows = loaded(converted(dataset, folder, **settings)[1])
        for prompt, texts in zip(rows["prompt"], contents(rows), strict=True):
            found[prompt[0]["content"].split("\n")[0]] = texts
    demonstrated = [{prompt for prompt in some if found[prompt]} for found in (every, some)]
    assert demonstrated[0] <= demonstrated[1] or demonstrated[1] <= demonstrated[0]
    both = demonstrated[0] & demonstrated[1]
    assert len(both) > 35
    assert all(every[prompt] == some[prompt] for prompt in both)


def test_a_smaller_share_is_part_of_a_larger_one(sums, tmp_path):
    found = {}
    for share in (0.1, 0.4):
        (tmp_path / str(share)).mkdir()
        rows = loaded(converted(sums, tmp_path / str(share), demonstrated_share=share)[1])
        found[share] = {
            prompt[0]["content"] for prompt, texts in zip(rows["prompt"], contents(rows), strict=True) if texts
        }
    assert found[0.1] < found[0.4]


def test_problems_with_the_same_answer_go_wrong_differently(tmp_path):
    rows = [{"prompt": f"{row}?", "completion": "\\boxed{500}", "solution": "500"} for row in range(20)]
    _, path = converted(Dataset.from_list(rows), tmp_path, damaged_share=1)
    assert len({texts[0] for texts in contents(loaded(path))}) > 10


def test_what_cannot_be_damaged_is_counted_and_others_take_its_place(tmp_path):
    rows = [{"prompt": f"{row}?", "completion": f"\\boxed{{{row}}}", "solution": str(row)} for row in range(6)]
    rows += [{"prompt": f"x{row}?", "completion": "\\boxed{x}", "solution": "x"} for row in range(4)]
    outcome, _ = converted(Dataset.from_list(rows), tmp_path, damaged_share=0.5)
    assert (outcome.damaged, outcome.beyond_damage) == (5, 0)
    assert outcome.tally.noted["demonstrations that cannot be damaged"].number == 4
    (tmp_path / "all").mkdir()
    outcome, _ = converted(Dataset.from_list(rows), tmp_path / "all", damaged_share=1)
    assert (outcome.damaged, outcome.beyond_damage) == (6, 4)


def test_a_damaged_answer_that_the_verifier_finds_right_is_not_used(tmp_path, monkeypatch):
    asked = []

    def refuted(answers, solutions):
        asked.extend(zip(answers, solutions, strict=True))
        return [solution != r"\frac{0}{5}" for solution in solutions]

    monkeypatch.setattr(ablating, "refuted", refuted)
    golds = [r"\frac{0}{5}", r"\frac{3}{4}", "7"]
    rows = [{"prompt": gold, "completion": f"\\boxed{{{gold}}}", "solution": gold} for gold in golds]
    outcome, path = converted(Dataset.from_list(rows), tmp_path, damaged_share=1)
    assert [solution for _, solution in asked] == golds[:2], "a plain number needs no verifier"
    texts = contents(loaded(path))
    assert outcome.damaged == 2
    assert texts[0] == [r"\boxed{\frac{0}{5}}"]
    assert texts[1] == [f"\\boxed{{{asked[1][0]}}}"]


def test_rows_are_dropped_for_a_reason_with_the_first_of_them(tmp_path):
    rows = [
        {"prompt": "1+1?", "completion": "2", "solution": "2"},
        {"prompt": " ", "completion": "2", "solution": "2"},
        {"prompt": "3+3?", "completion": "6", "solution": None},
        {"prompt": " 1+1?\n", "completion": "two", "solution": "2"},
        {"prompt": "1+1?", "completion": "3", "solution": "3"},
        {"prompt": "5+5?", "completion": "10", "solution": ""},
        {"prompt": "3+3?", "completion": "6", "solution": "6"},
    ]
    outcome, path = converted(Dataset.from_list(rows), tmp_path)
    assert {reason: (found.number, found.row, found.example) for reason, found in outcome.tally.dropped.items()} == {
        "no problem": (1, 1, ""),
        "no answer": (2, 2, "3+3?"),
        "the problem of an earlier row": (1, 3, "as row 0: 1+1?"),
        "the problem of an earlier row, with another answer": (1, 4, "as row 0: 1+1?"),
    }
    assert contents(loaded(path)) == [["2"], ["6"]], "a row that was dropped has no part in the duplicates"


def test_reading_stops_when_enough_rows_are_kept(sums, tmp_path):
    outcome, path = converted(sums, tmp_path, max_rows=7, demonstrated_share=0.5)
    assert (outcome.rows_read, outcome.rows_kept, outcome.rows_demonstrated) == (7, 7, 4)
    assert len(loaded(path)) == 7


def test_demonstrations_without_anything_but_thinking_are_left_out(tmp_path):
    source = Dataset.from_list(
        [
            {"prompt": "a", "completion": ["<think>cut", "<think>x</think>1"], "solution": "1"},
            {"prompt": "b", "completion": ["<think>cut"], "solution": "1"},
        ]
    )
    outcome, path = converted(source, tmp_path, thinking="strip")
    assert contents(loaded(path)) == [["1"]]
    assert outcome.tally.left_out["nothing outside its thinking"].number == 1
    assert outcome.tally.dropped["no demonstration with anything outside its thinking"].row == 1


def test_lengths_in_tokens_drop_prompts_and_demonstrations(tmp_path, word_tokenizer):
    word_tokenizer.chat_template = "{{ 'a b ' + messages[0]['content'] }}"
    rows = [
        ("one two three", ["w " * 5]),
        ("one two three four", ["w"]),
        ("one", ["w " * 6, "w " * 4, "w " * 7, "x"]),
        ("two", ["w " * 6]),
        ("three", []),
    ]
    source = Dataset.from_list([{"prompt": prompt, "completion": texts, "solution": "1"} for prompt, texts in rows])
    limits = {"tokenizer": word_tokenizer, "max_prompt_tokens": 5, "max_demonstration_tokens": 5}
    outcome, path = converted(source, tmp_path, **limits)
    found = loaded(path)
    assert [prompt[0]["content"] for prompt in found["prompt"]] == ["one two three", "one", "three"]
    assert contents(found) == [["w " * 5], ["w " * 4, "x"], []]
    dropped = {reason: count.row for reason, count in outcome.tally.dropped.items()}
    assert dropped == {"a prompt longer than 5 tokens": 1, "every demonstration longer than 5 tokens": 3}
    assert outcome.tally.left_out["longer than 5 tokens"].number == 2
    (tmp_path / "one").mkdir()
    _, path = converted(source, tmp_path / "one", max_demonstrations=1, **limits)
    assert contents(loaded(path))[1] == ["w " * 4], "the first of those that fit"


def test_nothing_is_written_if_nothing_is_left(tmp_path):
    outcome, path = converted(Dataset.from_list([{"prompt": "", "completion": "", "solution": ""}]), tmp_path)
    assert outcome.rows_kept == 0
    assert not path.exists()


def test_other_scripts_stay_readable(tmp_path):
    source = Dataset.from_list([{"prompt": "一加一?", "completion": "π ≈ 3", "solution": "三"}])
    _, path = converted(source, tmp_path, "jsonl", plain_text=True)
    line = path.read_text("utf-8")
    assert "一加一" in line
    assert json.loads(line)["completion"] == "π ≈ 3"


@pytest.mark.parametrize(
    "settings",
    [
        {"damaged_share": 1.1},
        {"demonstrated_share": -0.1},
        {"seed": -1},
        {"max_rows": 0},
        {"max_demonstrations": 0},
        {"thinking": "<t>"},
    ],
)
def test_settings_that_cannot_be_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Settings(**settings)
