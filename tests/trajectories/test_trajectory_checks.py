"""Arguments and rows that do not give trajectories are refused before a model is loaded."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from PIL import Image


class Desk:
    """An environment with one tool."""

    def reset(self, **columns: Any) -> None:
        return None

    def count(self, a: int, b: int) -> str:
        """Adds two numbers.

        Args:
            a: first summand
            b: second summand
        """
        return str(a + b)


@pytest.fixture
def refused(make_tool_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The message of the error that a trainer raises for its arguments; no model may be loaded before."""

    def no_model(*args: Any, **named: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("trl.trainer.grpo_trainer.create_model_from_path", no_model)

    def message(*args: Any, **settings: Any) -> str:
        with pytest.raises(ValueError, match=r"\w") as found:
            make_tool_trainer(*args, **settings)
        return str(found.value)

    return message


def changed(rows: Dataset, **columns: Any) -> Dataset:
    """The rows, of which the third has other columns."""
    listed = rows.to_list()
    listed[2] = listed[2] | columns
    return Dataset.from_list(listed)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"demonstration_source": "own"}, "without the results of its tools"),
        ({"prefix_placement": "prompt"}, "a hint is text"),
        ({"prefix_ratio_distribution": "binomial"}, "slices of sentences"),
    ],
)
def test_settings_that_do_not_go_with_tools(refused: Callable[..., str], settings: dict, reason: str) -> None:
    of_own = {"prefix_ratio_schedule": "whole", "prefix_prompt_share": 0.5, "prefix_success_reward": 0.3}
    message = refused(**(of_own if "demonstration_source" in settings else {}), **settings)
    assert next(iter(settings)) in message
    assert reason in message


def test_images_with_tools_and_a_tokenizer(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    rows = Dataset.from_list([row | {"image": Image.new("RGB", (4, 4))} for row in demonstrations.sums()])
    assert "has a column 'image', and the processing class is a" in refused(rows)


def test_replayed_results_with_an_environment(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    message = refused(
        demonstrations.sums(name="count"), {"environment_factory": Desk}, prefix_tool_results="demonstration"
    )
    assert "executes no call of a prefix" in message


@pytest.mark.parametrize("setting", [{"prefix_unit": "turn"}, {"prefix_tool_results": "on_policy"}])
def test_settings_of_trajectories_without_tools(make_trainer: Callable[..., Any], setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is about demonstrations with tool calls"):
        make_trainer(**setting)


def test_trajectories_without_tools_are_refused(
    make_trainer: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    with pytest.raises(ValueError, match="one assistant message without tool calls"):
        make_trainer(train_dataset=demonstrations.sums(), answer_column=None)


@pytest.mark.parametrize("factory", [Desk, {"desk": Desk}])
def test_tools_of_a_row_that_are_not_there(
    refused: Callable[..., str], demonstrations: SimpleNamespace, factory: Any
) -> None:
    rows = demonstrations.sums(name="count", environment="desk")
    other = demonstrations.sum_of_three(1, 2, 3, name="add")
    message = refused(changed(rows, completion=other), {"environment_factory": factory})
    assert message.startswith("Row 2, column 'completion': the demonstration calls the tool 'add'")
    assert "count" in message


def test_an_environment_that_is_not_there(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    rows = changed(demonstrations.sums(name="count", environment="desk"), environment="bench")
    message = refused(rows, {"environment_factory": {"desk": Desk}})
    assert message.startswith("Row 2,")
    assert "'bench'" in message


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "assistant", "content": "So<|im_end|>", "tool_calls": None}], "'<|im_end|>' in a turn"),
        ([{"role": "user", "content": "And?"}], "is of the role 'user'"),
        ([{"role": "tool", "content": "5"}, {"role": "assistant", "content": "5"}], "is of the role 'tool'"),
        ([{"role": "assistant", "content": "5"}, {"role": "assistant", "content": "6"}], "after which a rollout ends"),
    ],
)
def test_demonstrations_that_cannot_be_used(
    refused: Callable[..., str], demonstrations: SimpleNamespace, messages: list[dict[str, Any]], reason: str
) -> None:
    rows, whole = demonstrations.sums(), demonstrations.sum_of_three(1, 2, 3)
    message = refused(changed(rows, completion=[*whole[:4], *messages]))
    assert message.startswith("Row 2, column 'completion': ")
    assert reason in message


def test_a_call_without_a_result(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    whole = demonstrations.sum_of_three(1, 2, 3)
    rows = changed(demonstrations.sums(), completion=[*whole[:1], whole[-1]])
    assert "follows a call of 'add' without a result. Add it" in refused(rows)


def test_calls_that_are_read_otherwise(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    def say(text: str) -> str:
        """Says a text.

        Args:
            text: what to say
        """
        return text

    def row(text: str) -> dict[str, Any]:
        calling = {"role": "assistant", "content": "", "tool_calls": [demonstrations.call("say", text=text)]}
        ends = [{"role": "tool", "content": "said"}, {"role": "assistant", "content": "It is said."}]
        return {"prompt": [{"role": "user", "content": "Say it."}], "completion": [calling, *ends]}

    rows = [row("before </tool_call> behind" if number == 101 else "this") for number in range(200)]
    message = refused(Dataset.from_list(rows), {"tools": [say]})  # every fourth row is encoded, and 101 is suspicious
    assert message.startswith("Row 101, column 'completion': calls are read otherwise")
    assert "say(text='before </tool_call> behind')" in message


def test_arguments_of_another_type_are_named(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    row = demonstrations.sums()[0]
    row["completion"][0]["tool_calls"][0]["function"]["arguments"] = {"a": math.nan, "b": 2}
    message = refused(Dataset.from_list([row] * 8))
    assert "add(a=nan, b=2)" in message
    assert "in 'add', 'a' is nan, which is no integer" in message


@pytest.mark.parametrize(
    "settings",
    [
        {"max_completion_length": 12},
        {"prefix_unit": "turn", "prefix_ratio_low": 0.1, "prefix_ratio_high": 0.3},
    ],
)
def test_demonstrations_of_which_no_ratio_gives_a_prefix(
    refused: Callable[..., str], demonstrations: SimpleNamespace, settings: dict[str, Any]
) -> None:
    rows = demonstrations.sums().to_list()
    for row in rows:
        row["completion"][0]["content"] = ""  # the first turn begins with its call
    message = refused(Dataset.from_list(rows), **settings)
    assert "None of the 8 demonstrations that were encoded gives a prefix" in message
    assert f"`{next(iter(settings))}=" in message


def test_demonstrations_of_one_turn_give_no_prefix_of_whole_turns(
    refused: Callable[..., str], demonstrations: SimpleNamespace
) -> None:
    rows = demonstrations.sums().to_list()
    for row in rows[::2]:
        row["completion"] = [{"role": "assistant", "content": "It is known.", "tool_calls": None}]
    message = refused(Dataset.from_list(rows), prefix_unit="turn", prefix_ratio_low=0.1, prefix_ratio_high=0.3)
    assert "None of the 4 demonstrations that were encoded gives a prefix" in message


def test_ratios_that_seldom_give_a_prefix_are_warned_of(
    make_tool_trainer: Callable[..., Any], demonstrations: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    rows = demonstrations.sums().to_list()
    for row in rows:
        row["completion"][0]["content"] = ""
    turns = {"prefix_unit": "turn", "prefix_ratio_low": 0.2}  # of three turns one is given from a third on
    make_tool_trainer(Dataset.from_list(rows), prefix_ratio_high=0.38, **turns)
    assert "Only 30% of the ratios" in caplog.text
    caplog.clear()
    make_tool_trainer(Dataset.from_list(rows), prefix_ratio_high=0.9, **turns)
    assert "of the ratios" not in caplog.text


def test_a_prompt_beyond_the_model(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    rows = changed(demonstrations.sums(), prompt=[{"role": "user", "content": "1 + 2? " * 9000}])
    assert "the prompt has " in refused(rows, max_completion_length=200)


def test_text_prompts_and_missing_demonstrations(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    rows = demonstrations.sums().to_list()
    assert "the prompt is text" in refused(Dataset.from_list([row | {"prompt": "1+2?"} for row in rows]))
    assert "No row has a demonstration" in refused(Dataset.from_list([row | {"completion": None} for row in rows]))


def test_prompts_that_an_environment_writes(refused: Callable[..., str], demonstrations: SimpleNamespace) -> None:
    rows = demonstrations.sums(name="count").remove_columns("prompt")
    assert "has no column 'prompt'" in refused(rows, {"environment_factory": Desk})
    assert "a dataset without the column `prompt`" in (Path(__file__).parents[2] / "docs" / "agents.md").read_text()


def test_calls_as_text_of_json_and_as_objects_are_the_same(
    run_tools: Callable[..., Any], demonstrations: SimpleNamespace
) -> None:
    rows = demonstrations.sums().to_list()
    for row in rows:
        for message in row["completion"]:
            for call in message["tool_calls"] or []:
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    as_text, as_objects = run_tools(Dataset.from_list(rows)), run_tools()
    pairs = zip(as_text.batches[0].prefixes, as_objects.batches[0].prefixes, strict=True)
    assert all(one.ids == other.ids for one, other in pairs)


def test_a_tool_that_the_template_cannot_describe_is_refused_with_the_fix(
    refused: Callable[..., str], demonstrations: SimpleNamespace
) -> None:
    def add(a: int, b: int) -> str:
        return str(a + b)

    said = refused(demonstrations.sums(), others={"tools": [add]})
    assert "`tools` has 'add', which cannot be described to the model" in said
    assert "docstring" in said
