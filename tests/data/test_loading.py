"""Datasets by name or path, with prompts as they are trained on."""

import json

import pytest
from datasets import Dataset, IterableDataset

from prefix_rft_trl.data.held_out import pick_split
from prefix_rft_trl.data.loading import load_splits, name_on_hub, with_prompts
from prefix_rft_trl.utils.errors import UserError


ROWS = [{"question": "1+1=", "answer": "2"}, {"question": "2+2=", "answer": "4"}]


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
    names = ["openai/gsm8k", "lab", "reasoning_gym/gcd", "folder/rows.jsonl", "rows.csv"]
    assert [name_on_hub(name) for name in names] == ["openai/gsm8k", None, None, None, None]


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
