"""Tools, environments and budgets of rollouts with demonstrated turns are as without prefixes."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset


class Counter:
    """An environment that adds to what it holds."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.calls: list[tuple[int, int]] = []

    def reset(self, **columns: Any) -> str:
        self.calls = []
        return " Use the tool."

    def count(self, a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: first summand
            b: second summand
        """
        self.calls.append((a, b))
        return str(a + b)

    def get_reward(self) -> float:
        return float(len(self.calls))


class Lister(Counter):
    """Another environment, with another tool."""

    def count(self, a: int, b: int) -> str:
        """Adds two numbers, and says so.

        Args:
            a: first summand
            b: second summand
        """
        return "listed " + super().count(a, b)


async def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


def spell(text: str) -> str:
    """Spells a text.

    Args:
        text: what to spell
    """
    if not text:
        raise ValueError("there is nothing to spell")
    return "-".join(text)


def test_calls_of_a_prefix_change_the_environment(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    run = run_tools(
        demonstrations.sums(name="count"), {"environment_factory": Counter},
        reward_funcs=None, prefix_prompts="failed", prefix_success_reward=1.5, max_steps=2, shuffle_dataset=False,
    )  # fmt: skip
    environments = run.trainer.environments
    prompt, calls = run.batches[-1].prompts[0], [environment.calls for environment in environments]
    assert prompt[-1]["content"].endswith("? Use the tool.")
    a, b, c = map(int, prompt[-1]["content"].partition("?")[0].split("+"))
    # No problem has failed before it was tried, so none has a prefix yet
    assert calls == [[]] * 4
    history = run.trainer._success_history
    assert set(history.best.values()) == {0.0}
    run.trainer._generate_and_score_completions([dict(demonstrations.sums(name="count")[1])] * 4)
    assert [environment.calls for environment in environments] == [[(1, 4), (5, 6)]] * 2 + [[]] * 2
    assert run.trainer.rollout_batch.rewards.tolist() == [2.0, 2.0, 0.0, 0.0]
    assert (a, b, c) == (1, 4, 6)


def test_several_environments_have_their_own_tools(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    rows = demonstrations.sums(name="count").to_list()
    rows = [row | {"environment": name} for row, name in zip(rows, ["first", "second"] * 4, strict=True)]
    run = run_tools(
        Dataset.from_list(rows), {"environment_factory": {"first": Counter, "second": Lister}},
        per_device_train_batch_size=8, shuffle_dataset=False, reward_funcs=None,
    )  # fmt: skip
    (batch,) = run.batches
    results = [messages[1]["content"] for messages in batch.completions if len(messages) > 1]
    assert results == ["3", "3", "listed 5", "listed 5"]
    assert run.logged("prefix/tool_results_differ") == [4]
    assert "and says so" in run.trainer._tokenizer.decode(batch.prompt_ids[-1])
    assert "and says so" not in run.trainer._tokenizer.decode(batch.prompt_ids[0])


def test_async_failing_and_missing_tools(run_tools: Callable[..., Any], demonstrations: SimpleNamespace) -> None:
    call = demonstrations.call
    failed = str({"error": "there is nothing to spell"})
    two_calls = [call("add", a=1, b=2) | {"id": "x"}, call("spell", text="ab") | {"id": "y"}]
    completion = [
        {"role": "assistant", "content": "", "tool_calls": two_calls},
        {"role": "tool", "tool_call_id": "y", "content": "a-b"},
        {"role": "tool", "tool_call_id": "x", "content": "3"},
        {"role": "assistant", "content": "", "tool_calls": [call("spell", text="")]},
        {"role": "tool", "name": "spell", "content": failed},
        {"role": "assistant", "content": "There is nothing more to do here."},
    ]
    # As files have it: arguments are text
    for message in completion:
        for each in message.get("tool_calls", ()):
            each["function"]["arguments"] = json.dumps(each["function"]["arguments"])
    row = {"prompt": [{"role": "user", "content": "1+2?"}], "completion": completion}
    for results in ("real", "demonstration"):
        run = run_tools(
            Dataset.from_list([row] * 2),
            {"tools": [add, spell]},
            max_completion_length=300,
            prefix_tool_results=results,
        )
        (batch,) = run.batches
        for messages in batch.completions[:2]:
            answers = [message["content"] for message in messages if message["role"] == "tool"]
            # TRL runs async tools after the others; a demonstration's results are replayed in the order of the calls
            assert answers == (["a-b", "3", failed] if results == "real" else ["3", "a-b", failed])
        assert run.logged("prefix/tool_results") == [4]
        assert run.logged("prefix/tool_results_differ") == [0]
        assert run.logged("tools/failure_frequency")[0] == pytest.approx(2 / 6 if results == "real" else 0)


def test_calls_beyond_the_iterations_are_not_served(run_tools: Callable[..., Any]) -> None:
    run = run_tools(max_tool_calling_iterations=1)
    (batch,) = run.batches
    for messages, prefix, ids in zip(batch.completions[:2], batch.prefixes[:2], batch.completion_ids, strict=False):
        assert [message["role"] for message in messages] == ["assistant", "tool", "assistant"]
        assert [piece.ids for piece in prefix.pieces[:2]] == [ids[start:stop] for start, stop in prefix.spans]
    assert run.logged("prefix/turns_not_served") == [2]


@pytest.mark.parametrize("budget", [30, 45, 60, 75, 90])
def test_prefix_results_and_continuation_share_the_budget(run_tools: Callable[..., Any], budget: int) -> None:
    run = run_tools(max_completion_length=budget, num_generations=2, per_device_train_batch_size=2)
    (batch,) = run.batches
    for prefix, ids, mask in zip(batch.prefixes, batch.completion_ids, batch.tool_mask, strict=True):
        assert len(mask) == len(ids) <= budget
        assert prefix.ids == [token for start, stop in prefix.spans for token in ids[start:stop]]
        assert len(prefix.ids) < budget
        assert prefix.spans[-1][1] <= budget
    assert run.logged("prefix/turns_not_served") == [0], "tools answer as in the demonstration, which was cut to fit"


def test_results_that_do_not_fit_end_the_rollout(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    def add(a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: first summand
            b: second summand
        """
        return "a long result " * 20

    run = run_tools(demonstrations.sums(), {"tools": [add]})
    (batch,) = run.batches
    for messages, prefix in zip(batch.completions[:2], batch.prefixes[:2], strict=True):
        assert len(messages) == len(prefix.spans) == 1
    assert run.logged("prefix/tool_results") == [0]
    assert run.logged("prefix/turns_not_served") == [4]


def test_a_stream_with_several_demonstrations_of_a_problem(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    one, other = demonstrations.sum_of_three(1, 2, 3), demonstrations.sum_of_three(3, 2, 1)
    row = {"prompt": [{"role": "user", "content": "1+2+3?"}], "completion": [one, other[:2], []]}
    rows = Dataset.from_list([row] * 8).to_iterable_dataset()
    run = run_tools(rows, num_prefix_generations=3, per_device_train_batch_size=8, prefix_unit="turn")
    (batch,) = run.batches
    turns = [len(prefix.spans) for prefix in batch.prefixes]
    # The second one has one turn, which is a call: it gives no prefix in turns
    assert set(turns[:3] + turns[4:7]) == {0, 2}
    assert turns[3] == turns[7] == 0
    for messages, given_turns in zip(batch.completions, turns, strict=True):
        if given_turns:
            assert [message["content"] for message in messages[1:4:2]] == ["3", "6"]
