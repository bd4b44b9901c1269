"""Rollouts in TRL's tool loop that begin with turns of a demonstration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset

from prefix_rft_trl.sampling import hybrid


TEMPLATES = Path(trl.__file__).parent / "chat_templates"
SPECIAL = ["<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>"]


def add(a: int, b: int) -> str:
    """Adds two numbers.

    Args:
        a: first summand
        b: second summand
    """
    return str(a + b)


def call(a: int, b: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", "arguments": {"a": a, "b": b}}}


def trajectory(a: int, b: int, c: int, first_result: str = "") -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": "I add.", "tool_calls": [call(a, b)]},
        {"role": "tool", "name": "add", "content": first_result or str(a + b)},
        {"role": "assistant", "content": "", "tool_calls": [call(a + b, c)]},
        {"role": "tool", "name": "add", "content": str(a + b + c)},
        {"role": "assistant", "content": f"The sum is {a + b + c}.", "tool_calls": None},
    ]


def dataset(first_result: str = "") -> Dataset:
    rows = [(number, number + 3, number + 5) for number in range(8)]
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": f"{a}+{b}+{c}?"}], "completion": trajectory(a, b, c, first_result)}
            for a, b, c in rows
        ]
    )


@pytest.fixture(scope="module", params=["qwen3", "qwen2_5"])
def tool_model(request: Any, byte_tokenizer: Callable[..., Any], save_tiny_model: Callable[..., Path]) -> Path:
    template = (TEMPLATES / f"{request.param}.jinja").read_text()
    tokenizer = byte_tokenizer([template], SPECIAL, pad_token="<|im_end|>", eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return save_tiny_model(tokenizer, f"tools_{request.param}")


class Recorder:
    """Batches of a trainer, and the tokens that its engine has decoded."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.batches, self.decoded = trainer, [], 0
        self.generate, self.score = trainer._generate, trainer._generate_and_score_completions
        trainer._generate, trainer._generate_and_score_completions = self.record_generated, self.record_scored

    def record_generated(self, prompts: list[Any]) -> tuple:
        self.prompts, self.found = prompts, self.generate(prompts)
        return self.found

    def record_scored(self, inputs: Any) -> Any:
        outputs = self.score(inputs)
        self.batches.append((self.prompts, self.found, outputs, list(self.trainer.rollout_batch.prefixes)))
        return outputs


def run(make_trainer_in: Callable[..., Any], folder: Path, model: Path, rows: Dataset, **settings: Any) -> Recorder:
    named = {
        "max_completion_length": 420, "per_device_train_batch_size": 4, "num_generations": 4,
        "num_prefix_generations": 2, "prefix_ratio_low": 0.95, "prefix_ratio_schedule": "constant",
        "answer_column": None, **settings,
    }  # fmt: skip
    trainer = make_trainer_in(
        folder,
        model=str(model),
        train_dataset=rows,
        reward_funcs=lambda completions, **_: [float(len(str(messages)) % 7) for messages in completions],
        others={"tools": [add]},
        **named,
    )
    recorder = Recorder(trainer)
    trainer.train()
    return recorder


@pytest.mark.parametrize("unit", ["token", "turn"])
def test_rows_hold_what_the_template_gives_for_the_turns(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path, unit: str
) -> None:
    recorder = run(make_trainer_in, tmp_path, tool_model, dataset(), prefix_unit=unit)
    trainer = recorder.trainer
    assert len(recorder.batches) == 2
    for prompts, (prompt_ids, completion_ids, tool_mask, completions, *_), outputs, prefixes in recorder.batches:
        for row, prefix in enumerate(prefixes):
            if row >= 2:
                assert not prefix.ids
                continue
            pieces = [piece for piece in prefix.pieces if piece.is_complete]
            assert len(pieces) == len(prefix.spans) - (unit == "token") == 2
            demonstrated = completions[row][:4]
            assert [message["role"] for message in demonstrated] == ["assistant", "tool"] * 2
            rendered = trainer._tokenizer.apply_chat_template(
                [*prompts[row], *demonstrated], tools=[add], add_generation_prompt=True, tokenize=True,
                return_dict=False, chat_template=trainer.chat_template,
            )  # fmt: skip
            assert (prompt_ids[row] + completion_ids[row])[: len(rendered)] == rendered
            inside = outputs["prefix_mask"][row].nonzero().flatten().tolist()
            assert [outputs["completion_ids"][row][place].item() for place in inside] == prefix.ids
            assert all(tool_mask[row][place] for place in inside)
            assert len(inside) == sum(len(piece.ids) for piece in prefix.pieces)


def test_served_turns_cost_no_decoding(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets_of_calls: list[list[int]] = []
    limit = hybrid.limit_new_tokens

    def recorded(trainer: Any, budgets: list[int], forced: Any) -> Any:
        budgets_of_calls.append(budgets)
        return limit(trainer, budgets, forced)

    monkeypatch.setattr(hybrid, "limit_new_tokens", recorded)
    recorder = run(make_trainer_in, tmp_path, tool_model, dataset(), max_steps=1)
    # the two on-policy rows in the first call; of the hybrid rows, whose second turn is served, the cut last turn
    assert [len(budgets) for budgets in budgets_of_calls] == [2, 2]
    _, _, _, prefixes = recorder.batches[0]
    for budget, prefix in zip(budgets_of_calls[1], prefixes[:2], strict=True):
        assert budget == 420 - prefix.spans[-1][1]


@pytest.mark.parametrize("results", ["real", "demonstration", "on_policy"])
def test_results_that_differ(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path, results: str
) -> None:
    rows = dataset("ninety")
    recorder = run(make_trainer_in, tmp_path, tool_model, rows, max_steps=1, prefix_tool_results=results)
    (logged,) = (entry for entry in recorder.trainer.state.log_history if "prefix/tool_results_differ" in entry)
    assert logged["prefix/tool_results_differ"] == (0 if results == "demonstration" else 2)
    _, (_, _, _, completions, *_), _, prefixes = recorder.batches[0]
    for messages, prefix in zip(completions[:2], prefixes[:2], strict=True):
        assert (messages[1]["content"] == "ninety") == (results == "demonstration")
        assert len(prefix.spans) == (1 if results == "on_policy" else 3)


def test_evaluation_has_no_prefix(make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path) -> None:
    recorder = run(
        make_trainer_in, tmp_path, tool_model, dataset(), max_steps=1, per_device_eval_batch_size=4, eval_strategy="no"
    )
    trainer = recorder.trainer
    trainer.evaluate(dataset().select(range(2)))
    assert not any(prefix.ids for prefix in recorder.batches[-1][3])


def test_a_tool_that_is_missing_is_named(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path
) -> None:
    def other() -> str:
        """Something else."""
        return ""

    with pytest.raises(ValueError, match=r"Row 0, column 'completion': .* 'add'"):
        make_trainer_in(tmp_path, model=str(tool_model), train_dataset=dataset(), others={"tools": [other]})


def test_gradient_is_of_served_and_sampled_tokens_alone(
    make_trainer_in: Callable[..., Any], tmp_path: Path, tool_model: Path
) -> None:
    recorder = run(make_trainer_in, tmp_path, tool_model, dataset(), max_steps=1, prefix_selection="random")
    _, _, outputs, _ = recorder.batches[0]
    noise, mask = outputs["prefix_noise"], outputs["prefix_mask"]
    assert torch.equal(noise != 0, mask)
    assert not (mask & (outputs["tool_mask"] == 0)).any()
