"""Rows become demonstrations, or an error that names the row; tests/trainer/test_bad_input.py has the datasets."""

from typing import Any

import pytest
from datasets import Dataset, IterableDataset
from transformers import AutoTokenizer

from prefix_rft_trl.method.demonstrations import check_demonstrations, doubtful_rows, parse_demonstrations


def message(content: Any, **others: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **others}


# Reading a row


@pytest.mark.parametrize(
    ("value", "contents"),
    [
        ("2+2=4", ["2+2=4"]),
        (" 2+2=4\n", [" 2+2=4\n"]),
        ([message("4")], ["4"]),
        (["4", "four"], ["4", "four"]),
        ([[message("4")], [message("four")]], ["4", "four"]),
        ([[message([{"type": "text", "text": "2+2"}, {"type": "text", "text": "=4"}])]], ["2+2=4"]),
        (["4", None, "", [], [message("four")]], ["4", "four"]),
    ],
)
def test_every_form_of_demonstrations_is_read(value, contents):
    assert parse_demonstrations(value) == [message(content) for content in contents]


@pytest.mark.parametrize(
    "value", [None, "", " \n\t", [], [""], [" ", None, []], [[]], [message("")], [message(None)], [[message("\n")]]]
)
def test_row_without_a_demonstration_is_no_error(value):
    assert parse_demonstrations(value) == []


def test_keys_that_datasets_fills_in_are_dropped_and_reasoning_stays():
    rows = Dataset.from_list(
        [
            {"completion": [{"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}]},
            {"completion": [{"role": "assistant", "content": "5", "tool_calls": [], "name": None}]},
        ]
    )
    assert set(rows[0]["completion"][0]) == {"role", "content", "reasoning_content", "tool_calls", "name"}
    assert parse_demonstrations(rows[0]["completion"]) == [message("4", reasoning_content="2 and 2")]
    assert parse_demonstrations(rows[1]["completion"]) == [message("5")]


CALL = {"type": "function", "function": {"name": "add", "arguments": {}}}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (7, "int"),
        (False, "bool"),
        (message("4"), "dict"),
        ({"text": "4"}, "dict"),
        ([1, 2], "int"),
        (["4", 0], "int"),
        ([message("4"), "4"], "dict"),
        ([[message("4")], [1]], "list"),
        ([message("4"), message("5")], "2 message.*assistant, assistant"),
        ([{"role": "user", "content": "2+2?"}], "1 message.*user"),
        ([{"content": "4"}], "1 message.*None"),
        ([message("", tool_calls=[CALL])], "tool calls"),
        ([message([{"type": "image", "image": "x.png"}])], "dict.*image"),
        ([message([{"type": "image", "image": "x.png", "text": "a cat"}])], "dict.*image"),
        ([message([{"type": "text", "text": None}])], "dict.*None"),
        ([message(["4"])], "str"),
        ([message(4)], "int"),
    ],
)
def test_value_that_is_no_demonstration_is_an_error_with_row_and_column(value, found):
    with pytest.raises(ValueError, match=rf"(?s)Row 17, column 'worked'.*{found}"):
        parse_demonstrations(value, 17, "worked")


# Checking a dataset


def test_rows_without_a_demonstration_are_counted():
    dataset = Dataset.from_dict({"prompt": ["a"] * 5, "completion": ["4", None, " ", "", "5"]})
    assert check_demonstrations(dataset, "completion") == 3


def test_bad_row_far_down_is_found_before_training():
    dataset = Dataset.from_dict({"prompt": ["a", "b"], "worked": [[message("4")], [message("5"), message("6")]]})
    with pytest.raises(ValueError, match="Row 1, column 'worked'"):
        check_demonstrations(dataset, "worked")


def test_only_the_first_row_of_a_stream_is_read():
    def rows():
        yield {"prompt": "a", "completion": "4"}
        raise AssertionError("a second row was read")

    assert check_demonstrations(IterableDataset.from_generator(rows), "completion") is None


# Rows to tokenize before training


def test_short_demonstrations_and_the_first_of_each_thinking_form_are_checked(base_model):
    worked, thinking = "3+4=7;#7", "<think>3+4=7</think>7"
    texts = [worked, worked, "7", thinking, thinking, "3+4=7</think>7"]
    rows = [[message(text)] for text in texts] + [[], [message(worked, thinking="Easy.")]]
    tokenizer = AutoTokenizer.from_pretrained(base_model)  # its longest token has five characters
    dataset = Dataset.from_list([{"worked": row} for row in rows])
    found = dict(doubtful_rows(dataset, "worked", tokenizer))
    assert list(found) == [0, 2, 3, 5, 7]
    assert found[2] == [message("7")]
