"""A trainer on the lab's base model."""

from collections.abc import Callable
from typing import Any

import pytest

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


def graded_reward(completions: list[str], **kwargs: Any) -> list[float]:
    """A reward that seldom is equal for all rollouts of a group, unlike the lab's own."""
    return [sum(map(ord, completion)) % 11 / 10 for completion in completions]


@pytest.fixture
def make_trainer(base_model, tmp_path) -> Callable[..., PrefixGRPOTrainer]:
    def make(train_dataset: Any = None, **settings: Any) -> PrefixGRPOTrainer:
        defaults = {
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "max_completion_length": 56,
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_steps": 100,
        }
        args = PrefixGRPOConfig(str(tmp_path), **{**defaults, **settings})
        rows = lab.load_dataset("train", 8) if train_dataset is None else train_dataset
        return PrefixGRPOTrainer(base_model, graded_reward, args, rows)

    return make
