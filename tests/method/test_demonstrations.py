"""Rows become demonstrations, or an error that names the row; tests/trainer/test_bad_input.py has the datasets."""

from typing import Any

import pytest
from datasets import Dataset

from prefix_rft_trl.method.demonstrations import parse_demonstrations


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
