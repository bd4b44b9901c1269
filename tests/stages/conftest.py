"""A trainer whose reward functions and sampler write down what they are given."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch


@dataclass
class Scored:
    """A rollout as it was scored."""

    prompt: str
    text: str
    ids: list[int]
    reward: float


@dataclass
class StagedRun:
    """A training of one step: the calls of its reward function, what was sampled, and what was trained on."""

    settings: dict[str, Any]
    calls: list[list[Scored]] = field(default_factory=list)
    sampled: list[list[list[int]]] = field(default_factory=list)  # of each call: prompt and completion of each row
    trainer: Any = None
    generation: Any = None

    def judge(self, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **others: Any):
        texts = map("".join, zip(prompts, completions, strict=True))
        rewards = [float(zlib.crc32(text.encode()) % 4 == 0) for text in texts]
        self.calls.append(list(map(Scored, prompts, completions, completion_ids, rewards)))
        others["log_extra"]("said", list(completions))
        others["log_metric"]("rows_of_call", len(completions))
        return rewards

    @property
    def group(self) -> int:
        return self.settings["num_generations"]

    def groups(self, rows: list[Any]) -> list[list[Any]]:
        return [rows[first : first + self.group] for first in range(0, len(rows), self.group)]

    def logged(self, name: str) -> float:
        return self.trainer.state.log_history[0][name]

    def demonstration(self, prompt: str) -> str:
        return next(row["completion"] for row in self.trainer.train_dataset if row["prompt"] == prompt)

    def prefix_of(self, prompt: str, ratio: float) -> str:
        """A token is a character in the lab."""
        text = self.demonstration(prompt)[: self.settings["max_completion_length"]]
        return text if ratio == 1 else text[: int(ratio * len(text))]


SETTINGS = {
    "num_generations": 4, "num_prefix_generations": 0, "per_device_train_batch_size": 24, "max_steps": 1,
    "max_completion_length": 64, "temperature": 1.3, "prefix_selection": "none",
}  # fmt: skip


@pytest.fixture
def train_staged(make_trainer: Callable[..., Any], record: Callable[[Any], list[Any]]) -> Callable[..., StagedRun]:
    def run(**settings: Any) -> StagedRun:
        found = StagedRun({**SETTINGS, **settings})
        trainer = found.trainer = make_trainer(reward_funcs=found.judge, **found.settings)
        generate, ends = trainer.model.generate, trainer.eos_token_ids

        def generate_and_keep(input_ids: torch.Tensor, **others: Any) -> torch.Tensor:
            found.sampled.append([])
            whole = generate(input_ids=input_ids, **others)
            for row, mask in zip(whole.tolist(), others["attention_mask"].tolist(), strict=True):
                start = mask.index(1)
                end = next((place + 1 for place in range(len(mask), len(row)) if row[place] in ends), len(row))
                found.sampled[-1].append(row[start:end])
            return whole

        trainer.model.generate = generate_and_keep
        generations = record(trainer)
        trainer.train()
        (found.generation,) = generations
        return found

    return run
