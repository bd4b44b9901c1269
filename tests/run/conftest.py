from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab


@pytest.fixture(scope="session")
def make_trainer() -> Callable[..., PrefixGRPOTrainer]:
    """A trainer of the lab's base model for a few fast steps."""
    small = {
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True,
        "num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 20, "learning_rate": 1e-3,
        "max_steps": 4, "save_steps": 1, "logging_steps": 1,
    }  # fmt: skip

    def make(folder: Path, trainer: type[PrefixGRPOTrainer] = PrefixGRPOTrainer, **settings) -> PrefixGRPOTrainer:
        rows = lab.load_dataset("train", 16)
        args = PrefixGRPOConfig(str(folder), **{**small, **settings})
        return trainer(lab.base_model_path(), graded_reward, args, rows, eval_dataset=rows)

    return make


def graded_reward(completions, **kwargs):
    return [sum(map(ord, completion)) % 11 / 10 for completion in completions]


@pytest.fixture(scope="session")
def assert_same_weights() -> Callable[[PrefixGRPOTrainer, PrefixGRPOTrainer], None]:
    def compare(found: PrefixGRPOTrainer, expected: PrefixGRPOTrainer) -> None:
        weights = dict(found.model.named_parameters())
        for name, weight in expected.model.named_parameters():
            assert torch.equal(weights[name], weight), name

    return compare
