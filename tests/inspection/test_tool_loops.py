"""Inspection of a run whose demonstrations call tools."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from prefix_rft_trl.inspection.groups import inspect_rows
from prefix_rft_trl.inspection.html_page import page


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


ANSWER = "The sum is three."
DEMONSTRATION = [
    {
        "role": "assistant",
        "content": "I add.",
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}],
    },
    {"role": "tool", "name": "add", "content": "3"},
    {"role": "assistant", "content": ANSWER},
]


def test_turns_results_and_the_rest_are_shown_in_order(make_trainer: Callable[..., Any], tool_model: Path) -> None:
    trainer = make_trainer(
        model=str(tool_model), train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": "1+2?"}], "completion": DEMONSTRATION}] * 8
        ), max_completion_length=90, prefix_ratio_low=0.8, prefix_ratio_high=0.8, answer_column=None,
        reward_funcs=lambda completions, **_: [0.0] * len(completions), others={"tools": [add]},
    )  # fmt: skip
    inspection = inspect_rows(trainer, [0])
    (rollout,) = inspection.groups[0].hybrids
    texts = [(kind, "".join(token.text for token in tokens)) for kind, tokens in rollout.parts]
    assert [kind for kind, _ in texts] == ["prefix", "result", "prefix", "written"]
    assert texts[0][1].startswith("I add.\n<tool_call>")
    assert "<tool_response>\n3\n</tool_response>" in texts[1][1]
    left = "".join(token.text for token in rollout.rest)
    assert texts[2][1] + left == ANSWER + "<|im_end|>"
    assert rollout.num_selected == pytest.approx(len(rollout.prefix) / 5, abs=1)
    assert sum(token.selected for _, tokens in rollout.parts for token in tokens) == rollout.num_selected > 0
    assert sum(len(tokens) for _, tokens in rollout.parts) > len(rollout.prefix) + len(rollout.continuation)
    shown = page(inspection).split('<div class="tokens">')[1]
    assert shown.index('class="t o"') < shown.index("the policy goes on") < shown.index('class="t w"')
    assert 'class="t r ' not in shown
