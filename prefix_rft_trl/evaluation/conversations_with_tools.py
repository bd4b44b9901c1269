"""Conversations of a model with its tools and environments, sampled by the tool loop of the trainer that it is in."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from accelerate.utils import gather_object

from prefix_rft_trl.sampling.generate import sampling_config, sampling_with, stop_token_ids
from prefix_rft_trl.utils.patching import replaced

from .benchmark import Answer
from .sampling import Sampling


class _Generated(Exception):
    """Ends TRL's method behind its generation, before the rewards, and carries what was generated."""


def calls_tools(trainer: Any) -> bool:
    """Whether the rollouts of a trainer may call tools."""
    return bool(getattr(trainer, "tools", None))


def sample_conversations(trainer: Any, rows: list[dict[str, Any]], sampling: Sampling, seed: int) -> list[Answer]:
    """One conversation to each row, without any prefix; its messages are those of its answer.

    All processes call it together, and their engines are asked equally often. Random state, metrics and mode of the
    trainer stay as they are, its environments do not.

    Args:
        trainer ([`~trl.GRPOTrainer`]): with tools or environments.
        rows (`list[dict]`): with a `prompt`, and what its environment reads.
        sampling (`Sampling`): its budget is that of a conversation, results of tools included.
        seed (`int`): of all random numbers. A vLLM engine goes on with its own.
    """
    most = max(gather_object([len(rows)]))
    asked = rows + rows[:1] * (most - len(rows))
    with _measuring(trainer, sampling):
        torch.manual_seed(seed)
        _, ids, tool_mask, completions, *_ = _generate(trainer, asked)
    stops = set(trainer.eos_token_ids)
    found = zip(ids[: len(rows)], tool_mask, completions, strict=False)
    return [
        Answer(
            row_ids,
            str(messages[-1]["content"]),
            row_ids[-1] not in stops,
            messages=messages,
            tool_tokens=len(mask) - sum(mask),
        )
        for row_ids, mask, messages in found
    ]


def _generate(trainer: Any, rows: list[dict[str, Any]]) -> tuple:
    """What TRL's `_generate` returns once `_generate_and_score_completions` has prepared tools and environments."""
    generate = trainer._generate

    def stop_after_generation(prompts: list[Any]) -> None:
        raise _Generated(generate(prompts))

    with replaced(trainer, "_generate", stop_after_generation):
        try:
            trainer._generate_and_score_completions(rows)
        except _Generated as generated:
            return generated.args[0]
    raise RuntimeError("TRL has generated nothing.")


@contextmanager
def _measuring(trainer: Any, sampling: Sampling) -> Iterator[None]:
    model = trainer.accelerator.unwrap_model(trainer.model)
    stops = stop_token_ids(model.generation_config, trainer._tokenizer)
    settings = sampling.max_new_tokens, stops, trainer._tokenizer.pad_token_id, sampling.temperature, sampling.top_p
    config = sampling_config(*settings)
    metrics = {mode: type(lists)(list) for mode, lists in trainer._metrics.items()}
    with ExitStack() as stack:
        stack.enter_context(sampling_with(config, model))
        changes = {
            "generation_config": config,
            "max_completion_length": sampling.max_new_tokens,
            "num_generations_eval": 1,
            "_metrics": metrics,
        }
        for name, value in changes.items():
            stack.enter_context(replaced(trainer, name, value))
        if trainer.use_vllm:
            of_engine = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0, "min_p": None}
            of_engine |= {"repetition_penalty": 1.0, "max_completion_length": sampling.max_new_tokens}
            for name, value in of_engine.items():
                stack.enter_context(replaced(trainer.vllm_generation, name, value))
        yield
