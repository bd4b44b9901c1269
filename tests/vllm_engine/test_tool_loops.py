"""Turns of demonstrations that are served cost a colocated engine nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoTokenizer


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


def call(a: int, b: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}


def demonstration(a: int, b: int, c: int) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": "", "tool_calls": [call(a, b)]},
        {"role": "tool", "name": "add", "content": str(a + b)},
        {"role": "assistant", "content": "", "tool_calls": [call(a + b, c)]},
        {"role": "tool", "name": "add", "content": str(a + b + c)},
        {"role": "assistant", "content": f"The sum of all three is {a + b + c}."},
    ]


@pytest.fixture(scope="module")
def run(
    make_trainer: Callable[..., Any], tool_model: Path, save_tiny_model: Callable[..., Path]
) -> tuple[Any, list[Any], list[Any]]:
    """A trainer after a step, the answers of its engine by request, and what it generated."""
    model = save_tiny_model(AutoTokenizer.from_pretrained(tool_model), "tool_model_of_vllm", hidden_size=64)
    rows = [
        {"prompt": [{"role": "user", "content": f"{a}+2+3?"}], "completion": demonstration(a, 2, 3)} for a in range(4)
    ]
    trainer = make_trainer(
        model=str(model), train_dataset=Dataset.from_list(rows), vllm_max_model_length=1024, num_generations=4,
        max_completion_length=160, per_device_train_batch_size=4, prefix_ratio_low=0.95, answer_column=None,
        prefix_ratio_schedule="constant", others={"tools": [add]},
        reward_funcs=lambda completions, **_: [float(len(str(messages)) % 7) for messages in completions],
    )  # fmt: skip
    answers: list[Any] = []
    generate, generate_rows = trainer.vllm_generation.llm.generate, trainer._generate
    generated: list[Any] = []

    def generate_and_keep(*args: Any, **named: Any) -> list[Any]:
        answers.append(generate(*args, **named))
        return answers[-1]

    def generate_rows_and_keep(prompts: list[Any]) -> tuple:
        generated.append(generate_rows(prompts))
        return generated[-1]

    trainer.vllm_generation.llm.generate = generate_and_keep
    trainer._generate = generate_rows_and_keep
    trainer.train()
    return trainer, answers, generated


def test_decoded_tokens_of_the_log_are_those_of_the_engine(run: tuple[Any, list[Any], list[Any]]) -> None:
    trainer, answers, _ = run
    (logged,) = [entry["sampling/decoded_tokens"] for entry in trainer.state.log_history if "reward" in entry]
    of_engine = sum(len(output.token_ids) for of_call in answers for each in of_call for output in each.outputs)
    assert logged == of_engine > 0
    # Two on-policy rows, and the two hybrid ones in their third turn, which is cut: no request for the turns before
    assert sum(map(len, answers)) == 4


def test_rows_are_what_the_template_gives_and_are_trained_by_the_engines_log_probabilities(
    run: tuple[Any, list[Any], list[Any]],
) -> None:
    trainer, _, generated = run
    ((_, completion_ids, tool_mask, completions, logps, *_),) = generated
    for row, prefix in enumerate(trainer.rollout_batch.prefixes[:2]):
        assert len(prefix.spans) == 3
        ids = [token for start, stop in prefix.spans for token in completion_ids[row][start:stop]]
        assert ids == [token for piece in prefix.pieces for token in piece.ids]
        assert [message["content"] for message in completions[row] if message["role"] == "tool"][1].isdigit()
        unknown = [place for place, value in enumerate(logps[row]) if value != value]
        assert unknown == [place for start, stop in prefix.spans for place in range(start, stop)]
        assert len(logps[row]) == len(tool_mask[row]) == len(completion_ids[row])
