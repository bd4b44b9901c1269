"""Texts of demonstrations with tool calls: an answer is in the last turn, and a length has the arguments of calls."""

from typing import Any
from unittest.mock import Mock

from prefix_rft_trl.data.check import Columns
from prefix_rft_trl.data.check.answer_checks import AnswerCheck
from prefix_rft_trl.data.check.checked_rows import CheckedRow, read_rows
from prefix_rft_trl.data.check.measures import Measure


ARGUMENTS = {"a": 40, "b": 2}


def calling_row(end: str) -> CheckedRow:
    """A row whose tool has answered 42 before its last turn."""
    call = {"type": "function", "function": {"name": "add", "arguments": ARGUMENTS}}
    completion: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "add", "content": "42"},
        {"role": "assistant", "content": end},
    ]
    value = {"prompt": [{"role": "user", "content": "40+2?"}], "completion": completion, "solution": "42"}
    (row,) = read_rows([value], Columns(), [0])
    return row


def test_an_answer_is_looked_for_in_the_last_turn_alone() -> None:
    (finding,) = AnswerCheck(Mock()).read(calling_row("I stop there"))
    assert (finding.kind, finding.note) == ("answer_missing", "demonstration ends: I stop there")


def test_what_tools_have_answered_is_working() -> None:
    assert not [*AnswerCheck(Mock()).read(calling_row("#### 42"))]
    (finding,) = AnswerCheck(Mock()).read(calling_row("#### 43"))
    assert finding.kind == "answer_unworked"


def test_a_length_in_characters_has_the_calls() -> None:
    row = calling_row("It is 42.")
    assert Measure().trajectory(row.prompt, row.trajectories[0], row.value) == len(
        '42\nIt is 42.\nadd {"a": 40, "b": 2}'
    )
