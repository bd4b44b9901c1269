"""Demonstrations with tool calls, an untrained model with a template that has them, and recorded runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def sum_of_three(a: int, b: int, c: int, first_result: str = "", name: str = "add") -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": "I add.", "tool_calls": [call(name, a=a, b=b)]},
        {"role": "tool", "name": name, "content": first_result or str(a + b)},
        {"role": "assistant", "content": "", "tool_calls": [call(name, a=a + b, b=c)]},
        {"role": "tool", "name": name, "content": str(a + b + c)},
        {"role": "assistant", "content": f"The sum is {a + b + c}.", "tool_calls": None},
    ]


def sums(first_result: str = "", name: str = "add", **columns: Any) -> Dataset:
    """Eight problems with a demonstration of three turns."""
    rows = [(number, number + 3, number + 5) for number in range(8)]
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": f"{a}+{b}+{c}?"}],
                "completion": sum_of_three(a, b, c, first_result, name),
                **columns,
            }
            for a, b, c in rows
        ]
    )


@pytest.fixture(scope="session")
def demonstrations() -> SimpleNamespace:
    """Makers of demonstrations."""
    return SimpleNamespace(add=add, call=call, sum_of_three=sum_of_three, sums=sums)


@dataclass
class ToolBatch:
    """A generation batch of a run with tools, before TRL shuffles it."""

    prompts: list[Any]
    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    tool_mask: list[list[int]]
    completions: list[list[dict[str, Any]]]
    outputs: dict[str, Any]
    prefixes: list[Any]


class ToolRun:
    """The generation batches of a trainer, and what its log has."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.batches = trainer, []
        self._generate, self._score = trainer._generate, trainer._generate_and_score_completions
        trainer._generate, trainer._generate_and_score_completions = self._record, self._record_scored

    def _record(self, prompts: list[Any]) -> tuple:
        self._found = prompts, self._generate(prompts)
        return self._found[1]

    def _record_scored(self, inputs: Any) -> Any:
        outputs = self._score(inputs)
        prompts, (prompt_ids, completion_ids, tool_mask, completions, *_) = self._found
        prefixes = list(self.trainer.rollout_batch.prefixes)
        self.batches.append(
            ToolBatch(prompts, prompt_ids, completion_ids, tool_mask, completions, dict(outputs), prefixes)
        )
        return outputs

    def logged(self, name: str) -> list[float]:
        return [entry[name] for entry in self.trainer.state.log_history if name in entry]


@pytest.fixture
def make_tool_trainer(make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path) -> Callable[..., Any]:
    """Makes a trainer with tools; `others` are its arguments besides the settings."""

    def make(rows: Dataset | None = None, others: dict[str, Any] | None = None, **settings: Any) -> Any:
        named = {
            "max_completion_length": 150, "per_device_train_batch_size": 4, "num_generations": 4, "max_steps": 1,
            "num_prefix_generations": 2, "prefix_ratio_low": 0.95, "prefix_ratio_schedule": "constant",
            "answer_column": None, "model": str(tool_model), **settings,
        }  # fmt: skip
        named.setdefault(
            "reward_funcs", lambda completions, **_: [float(len(str(messages)) % 7) for messages in completions]
        )
        rows = sums() if rows is None else rows
        return make_trainer_in(tmp_path, train_dataset=rows, others=others or {"tools": [add]}, **named)

    return make


@pytest.fixture
def run_tools(make_tool_trainer: Callable[..., Any]) -> Callable[..., ToolRun]:
    """Trains with tools and returns what was generated."""

    def train(*args: Any, **settings: Any) -> ToolRun:
        run = ToolRun(make_tool_trainer(*args, **settings))
        run.trainer.train()
        return run

    return train
