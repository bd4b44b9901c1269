"""Encoded turns that are kept: once for a group, of the most recent demonstrations."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from prefix_rft_trl.method.trajectories import TurnTokens, parse_trajectory
from prefix_rft_trl.trajectories import served_turns
from prefix_rft_trl.trajectories.recent_turns import RecentTurns


def test_turns_are_kept_by_all_that_they_depend_on(demonstrations: SimpleNamespace) -> None:
    recent, made = RecentTurns(size=3), []

    def ids(prompt: str, a: int, environment: str | None = None) -> list[int]:
        def encode() -> list[TurnTokens]:
            made.append((prompt, a, environment))
            return [TurnTokens([len(made)])]

        trajectory = parse_trajectory(demonstrations.sum_of_three(a, 2, 3))
        return recent.get([{"role": "user", "content": prompt}], trajectory, environment, encode)[0].ids

    assert [ids("p", 1), ids("p", 1), ids("q", 1), ids("p", 2), ids("p", 1)] == [[1], [1], [2], [3], [1]]
    assert ids("p", 1, "desk") == [4]
    assert [ids("p", 1), ids("q", 1)] == [[1], [5]], "the one that was asked for longest ago was dropped"


def test_rollouts_of_a_group_are_encoded_once(run_tools: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, encode_turns = [], served_turns.encode_turns

    def counting(*args: Any) -> list[TurnTokens]:
        encoded.append(args)
        return encode_turns(*args)

    monkeypatch.setattr(served_turns, "encode_turns", counting)
    (batch,) = run_tools(prefix_unit="turn").batches
    assert len(encoded) == 1
    assert batch.prefixes[0].ids == batch.prefixes[1].ids != []
