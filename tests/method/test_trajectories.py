"""Demonstrations of several turns: read from messages, and cut in tokens or in turns."""

import json
import math
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.check.turn_faults import turn_faults
from prefix_rft_trl.method.prefixes import Prefix
from prefix_rft_trl.method.trajectories import (
    TurnTokens,
    cut_turns,
    fitting_length,
    has_turns,
    parse_trajectory,
    readable_length,
    turns_length,
    whole_turns_length,
)


@st.composite
def turns(draw: st.DrawFn) -> list[TurnTokens]:
    """Turns of which all but the last call tools, with results between them."""
    made, start, token = [], 0, 0
    number = draw(st.integers(1, 4))
    for place in range(number):
        length = draw(st.integers(1, 8))
        calls_start = None if place == number - 1 else draw(st.integers(0, length - 1))
        made.append(TurnTokens(list(range(token, token + length)), start, calls_start))
        token, start = token + length, start + length + draw(st.integers(1, 5))
    return made


@given(turns(), st.integers(0, 40))
def test_pieces_are_the_first_tokens_and_end_outside_of_calls(made: list[TurnTokens], length: int) -> None:
    pieces = cut_turns(made, [["3"]] * len(made), length)
    kept = [token for piece in pieces for token in piece.ids]
    assert kept == list(range(len(kept)))
    assert len(kept) <= length
    assert all(piece.is_complete for piece in pieces[:-1])
    if not pieces:
        assert length == 0 or made[0].calls_start == 0
        return
    last, turn = pieces[-1], made[len(pieces) - 1]
    assert last.is_complete == (last.ids == turn.ids)
    if not last.is_complete and turn.calls_start is not None:
        assert len(last.ids) <= turn.calls_start
    # Nothing but the rest of a call is left out
    left = min(length, sum(len(turn.ids) for turn in made)) - len(kept)
    following = turn if not last.is_complete else made[len(pieces)] if len(pieces) < len(made) else None
    if left:
        assert following is not None
        assert following.calls_start == (0 if last.is_complete else len(last.ids))


@given(turns(), st.floats(0.01, 1.0))
def test_turns_are_at_most_all_but_one(made: list[TurnTokens], ratio: float) -> None:
    lengths = [len(turn.ids) for turn in made]
    assert turns_length(ratio, made) == sum(lengths[: min(math.floor(ratio * len(made)), len(made) - 1)])
    assert turns_length(1.0, made[:1]) == 0


@given(turns(), st.integers(0, 60))
def test_what_fits_the_budget_stands_within_it(made: list[TurnTokens], budget: int) -> None:
    places = [turn.start + place for turn in made for place in range(len(turn.ids))]
    assert fitting_length(made, budget) == sum(place < budget for place in places)
    whole = whole_turns_length(made, budget)
    assert whole in {sum(len(turn.ids) for turn in made[:number]) for number in range(len(made) + 1)}
    assert whole <= budget


def test_turns_that_are_not_read_end_before_their_calls() -> None:
    made = [TurnTokens([1, 2, 3], 0, 1), TurnTokens([4, 5, 6], 5, 2, is_read=False), TurnTokens([7], 9)]
    assert readable_length(made) == 5
    assert readable_length(made[:1]) == 3


def call(name: str, arguments: Any = None, **others: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments or {}}, **others}


def test_results_are_in_the_order_of_their_calls() -> None:
    trajectory = parse_trajectory(
        [
            {"role": "assistant", "content": None, "tool_calls": [call("a", id="1"), call("b", '{"n": 1}', id="2")]},
            {"role": "tool", "tool_call_id": "2", "content": "of b"},
            {"role": "tool", "tool_call_id": "1", "content": "of a"},
            {"role": "assistant", "content": "done", "tool_calls": None},
        ]
    )
    turn, last = trajectory.turns
    assert turn.results == (
        {"role": "tool", "name": "a", "content": "of a"},
        {"role": "tool", "name": "b", "content": "of b"},
    )
    assert turn.calls == [call("a"), call("b", {"n": 1})]
    assert last.message == {"role": "assistant", "content": "done"}


@pytest.mark.parametrize(
    ("ids", "results", "found"),
    [
        (("1", "2"), [{"tool_call_id": "2"}, {"tool_call_id": "2"}], "message 2 .* answers '2'.*: 'a' \\(1\\)"),
        (("1", "2"), [{"tool_call_id": "2"}, {"tool_call_id": "3"}], "message 2 .* answers '3'"),
        (("1", "2"), [{"tool_call_id": "1", "name": "b"}], "message 1 .* answers '1'"),
        ((None, None), [{"name": "c"}], "message 1 .* answers 'c'"),
        ((None, None), [{"name": "a"}, {"name": "a"}], "message 2 .* answers 'a'"),
    ],
)
def test_a_result_of_another_call_is_refused(ids: tuple, results: list[dict[str, str]], found: str) -> None:
    calls = [call(name, id=given) for name, given in zip("ab", ids, strict=True)]
    messages = [{"role": "assistant", "content": "", "tool_calls": calls}]
    messages += [{"role": "tool", "content": "", **named} for named in results]
    with pytest.raises(ValueError, match=f"Row 7, column 'steps': {found}"):
        parse_trajectory(messages, 7, "steps")
    assert "result_without_call" in dict(turn_faults(messages))


def test_names_say_which_call_a_result_is_of() -> None:
    messages = [{"role": "assistant", "content": "", "tool_calls": [call("a"), call("b"), call("a")]}]
    messages += [{"role": "tool", "name": name, "content": text} for name, text in ("b2", "a1", "a3")]
    assert parse_trajectory(messages).turns[0].result_texts == ["1", "2", "3"]
    assert not list(turn_faults(messages))


def test_arguments_are_what_the_user_has_written() -> None:
    written = [{"where": {"x": 1}, "steps": [{"go": "left"}, None]}, {"where": {"y": 2}, "steps": [{"turn": 3}, None]}]
    as_text = '{"where": null, "steps": [{"go": null}]}'
    messages = [[{"role": "assistant", "content": "", "tool_calls": [call("a", one)]}] for one in written]
    filled = Dataset.from_dict({"completion": messages})["completion"]
    assert filled[0][0]["tool_calls"][0]["function"]["arguments"]["where"] == {"x": 1, "y": None}
    found = [parse_trajectory(demonstration).turns[0].calls for demonstration in filled]
    assert found == [[call("a", one)] for one in written]
    (exact,) = parse_trajectory([{"role": "assistant", "content": "", "tool_calls": [call("a", as_text)]}]).turns
    assert exact.calls == [call("a", json.loads(as_text))]


@pytest.mark.parametrize(
    "calls",
    [[call("a", "no JSON")], [call("a", "null")], [{"type": "function"}], [call("a", "[1]")], [{"function": "a"}]],
)
def test_a_call_that_cannot_be_read_is_named(calls: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"Row 7, column 'steps': message 0 .* tool call that cannot be read"):
        parse_trajectory([{"role": "assistant", "content": "", "tool_calls": calls}], 7, "steps")


def test_one_message_without_calls_has_no_turns() -> None:
    message = {"role": "assistant", "content": "5", "tool_calls": None}
    assert not has_turns([message])
    assert has_turns([message | {"tool_calls": [call("a")]}])
    assert has_turns([message, message])
    assert not has_turns("5")


def test_a_prefix_has_what_was_served() -> None:
    pieces = cut_turns([TurnTokens([1, 2, 3], 0, 0), TurnTokens([4, 5, 6, 7], 5)], [["3"], []], 6)
    planned = Prefix([1, 2, 3, 4, 5, 6], 1.0, 6 / 7, 7, pieces=pieces, spans=((0, 3), (5, 8)))
    assert planned.served(9).ids == planned.ids
    cut = planned.served(6)
    assert (cut.ids, cut.spans, cut.share) == ([1, 2, 3, 4], ((0, 3), (5, 6)), 4 / 7)
    assert math.isnan(cut.states_answer)
    assert planned.served(4).ids == [1, 2, 3]
    turn, result = {"role": "assistant", "content": ""}, {"role": "tool", "content": "3"}
    assert planned.last_turn_ids([turn, result, turn]) == [4, 5, 6]
    assert planned.last_turn_ids([turn, result, turn, result, turn]) == []
    assert cut.last_turn_ids([turn, result, turn]) == [4]
    assert Prefix([1, 2]).last_turn_ids("a text") == [1, 2]
