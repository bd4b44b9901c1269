import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prefix_rft_trl import PrefixGRPOTrainer, lab


@pytest.fixture(scope="session")
def make_trainer(make_trainer_in: Callable[..., Any]) -> Callable[..., PrefixGRPOTrainer]:
    """Makes a trainer that writes into a folder: four steps with a checkpoint each."""
    saving = {"max_steps": 4, "max_completion_length": 20, "save_strategy": "steps", "save_steps": 1}
    return functools.partial(make_trainer_in, others={"eval_dataset": lab.load_dataset("train", 16)}, **saving)


@pytest.fixture(scope="session")
def assert_same_weights() -> Callable[[Any, Any], None]:
    """Compares bit for bit the weights of two trainers, or those that two folders hold."""

    def weights(run: PrefixGRPOTrainer | Path) -> dict[str, torch.Tensor]:
        return load_file(run / "model.safetensors") if isinstance(run, Path) else dict(run.model.named_parameters())

    def compare(found: PrefixGRPOTrainer | Path, expected: PrefixGRPOTrainer | Path) -> None:
        found_weights, expected_weights = weights(found), weights(expected)
        assert found_weights.keys() == expected_weights.keys()
        for name, weight in expected_weights.items():
            assert torch.equal(found_weights[name], weight), name

    return compare
