"""Datasets by name or path, with prompts as they are trained on."""

import json

import pytest
from datasets import Dataset, IterableDataset

from prefix_rft_trl.data.held_out import pick_split
from prefix_rft_trl.data.loading import load_splits, name_on_hub, with_prompts
from prefix_rft_trl.utils.errors import UserError


ROWS = [{"question": "1+1=", "answer": "2"}, {"question": "2+2=", "answer": "4"}]
TURNS = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_a_local_file_loads_by_its_ending(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    dataset = Dataset.from_list(ROWS)
    {"jsonl": dataset.to_json, "parquet": dataset.to_parquet, "csv": dataset.to_csv}[suffix](path)
    found = pick_split(load_splits(str(path)), "train")
    assert [str(value) for value in found["answer"]] == ["2", "4"]


def test_the_labs_splits_load_by_name():
    assert set(load_splits("lab")) == {"train", "test"}


def test_a_model_card_names_datasets_on_the_hub_alone():
    names = ["openai/gsm8k", "lab", "reasoning_gym/gcd", "folder/rows.jsonl", "rows.csv", "/gone/data", "~/data"]
    assert [name_on_hub(name) for name in names] == ["openai/gsm8k"] + [None] * 6


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: load_splits("no/rows.jsonl"), r"no/rows\.jsonl"),
        (lambda: load_splits(None), "dataset_name"),
        (lambda: pick_split(load_splits("lab"), "dev"), r"'dev'.*train, test"),
        (
            lambda: with_prompts(Dataset.from_list(ROWS), "prompt", None, False),
            r"'prompt'.*question, answer.*prompt_column",
        ),
    ],
    ids=["file", "name", "split", "column"],
)
def test_what_is_missing_is_named_with_what_there_is(load, message):
    with pytest.raises(UserError, match=message):
        load()


def test_prompts_get_the_instruction_and_become_messages():
    prompts = with_prompts(Dataset.from_list(ROWS), "question", "Think.", True)["prompt"]
    assert list(prompts) == [[{"role": "user", "content": f"{row['question']}\nThink."}] for row in ROWS]


def test_prompts_that_are_messages_stay_as_they_are(tmp_path):
    messages = [{"role": "user", "content": "1+1="}]
    (tmp_path / "rows.json").write_text(json.dumps({"prompt": messages}))
    found = with_prompts(load_splits(str(tmp_path / "rows.json"))["train"], "prompt", "Think.", True)
    assert found[0]["prompt"] == messages


def test_a_streamed_file_is_not_read_before_it_is_needed(tmp_path):
    path = tmp_path / "rows.jsonl"
    Dataset.from_list(ROWS).to_json(path)
    found = with_prompts(load_splits(str(path), streaming=True)["train"], "question", None, False)
    assert isinstance(found, IterableDataset)
    assert next(iter(found))["prompt"] == "1+1="


def test_a_column_that_is_named_is_not_replaced(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"problem": "1+1=", "solution": "1+1=2", "answer": "2"}))
    found = {
        named: load_splits(str(path), columns=columns)["train"][0]
        for named, columns in (
            ("nothing", {}),
            ("demonstrations", {"demonstration_column": "solution"}),
            ("answers", {"answer_column": "answer", "prompt_column": "problem"}),
        )
    }
    assert found["nothing"] == {
        "problem": "1+1=",
        "answer": "2",
        "prompt": "1+1=",
        "completion": "1+1=2",
        "solution": "2",
    }
    assert found["demonstrations"] == {"problem": "1+1=", "solution": "1+1=2", "answer": "2", "prompt": "1+1="}
    assert found["answers"] == {"problem": "1+1=", "answer": "2", "completion": "1+1=2", "solution": "2"}


def test_an_open_demonstration_is_no_matter_where_none_is_needed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"problem": "1+1=", "output": "a", "response": "b", "answer": "2"}))
    with pytest.raises(UserError, match=r"'output', 'response' may all hold.*`demonstration_column`.*problem, output"):
        load_splits(str(path), columns={})
    row = load_splits(str(path), columns={"demonstration_column": "none"})["train"][0]
    assert (row["prompt"], row["solution"], "completion" in row) == ("1+1=", "2", False)


def test_each_split_is_read_by_its_own_rows(tmp_path):
    rows = {"train": {"question": "1+1=", "answer": "1+1=2\n#### 2"}, "test": {"question": "2+2=", "answer": "4"}}
    for split, row in rows.items():
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row))
    (tmp_path / "more.jsonl").write_text(json.dumps(rows["train"]))
    said = []
    splits = load_splits(str(tmp_path), columns={}, say=said.append)
    assert {split: list(found["solution"]) for split, found in splits.items()} == {"train": ["2", "2"], "test": ["4"]}
    assert len(said) == 1


def test_rows_may_lack_what_the_first_have(tmp_path):
    turns = [{"from": "human", "value": "1+1="}, {"from": "gpt", "value": r"\boxed{2}"}]
    rows = [{"conversations": None}, {"conversations": turns}, {"conversations": turns[:1]}, {"conversations": []}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load_splits(str(tmp_path / "rows.jsonl"), columns={})["train"].to_list()
    prompt, demonstration = {"role": "user", "content": "1+1="}, {"role": "assistant", "content": r"\boxed{2}"}
    assert [row["prompt"] for row in found] == [[], [prompt], [prompt], []]
    assert [row["completion"] for row in found] == [[], [demonstration], [], []]
    assert [row["solution"] for row in found] == [None, "2", None, None]


GRPO = {"demonstration_column": "none"}


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "1+1=", "chosen": TURNS, "rejected": TURNS, "solution": "2"}, GRPO),
        ({"prompt": "1+1=", "completion": "2", "a": TURNS, "b": TURNS}, {}),
        ({"prompt": TURNS[:1], "target": TURNS[1:], "solution": "2"}, {"demonstration_column": "target"}),
    ],
)
def test_what_trained_without_being_recognised_stays_as_it_is(row, columns, tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    found = load_splits(str(tmp_path / "rows.jsonl"), columns=columns)["train"][0]
    assert {name: found[name] for name in row} == row


@pytest.mark.parametrize("given", [{}, {"prompt_column": "problem"}, {"answer_column": "answer"}])
@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "1+1=", "solution": r"It is \boxed{2}"},
        {"prompt": "1+1=", "solution": "We add them and have 2.", "answer": "2"},
        {"prompt": "1+1=", "completion": r"It is \boxed{2}", "answer": "2"},
        {"prompt": "Sum 7", "messages": TURNS},
        {"problem": "1+1=", "solution": r"It is \boxed{2}", "answer": "2"},
        {"instruction": "Add.", "input": "1+1", "output": "It is 2", "answer": "2"},
        {"question": "1+1=", "answer": "It is 2\n#### 2"},
        {"conversations": [{"from": "human", "value": "1+1="}, {"from": "gpt", "value": r"\boxed{2}"}]},
    ],
)
def test_prompts_and_answers_are_the_same_where_no_demonstration_is_needed(row, given, tmp_path):
    given = {setting: column for setting, column in given.items() if column in row}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    found, of_grpo = (
        load_splits(str(tmp_path / "rows.jsonl"), columns=given | more)["train"][0] for more in ({}, GRPO)
    )
    prompt, answer = given.get("prompt_column", "prompt"), given.get("answer_column", "solution")
    assert (of_grpo[prompt], of_grpo.get(answer)) == (found[prompt], found.get(answer))


def test_answers_may_be_numbers_here_and_text_there(tmp_path):
    rows = [{"problem": "1+1=", "solution": "1+1=2", "answer": answer} for answer in (2, "two", 2.5, None)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load_splits(str(tmp_path / "rows.jsonl"), columns={})["train"]
    assert list(found["solution"]) == [2, "two", 2.5, None]
