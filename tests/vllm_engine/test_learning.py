"""The lab learns with vLLM: the weights that sample are those that are trained."""

import pytest

from prefix_rft_trl.lab import experiment


OPTIONS = {"max_steps": 80, "learning_rate": 4e-4, "logging_steps": 80}


@pytest.fixture
def accuracy(tmp_path):
    def train(method: str) -> float:
        settings = {**OPTIONS, "use_vllm": True, "vllm_max_model_length": 96}
        return experiment.run(method, str(tmp_path), **settings)["accuracy"]

    return train


def test_prefix_rft_learns(accuracy):
    assert accuracy("prefix_rft") >= 0.80


def test_plain_grpo_does_not(accuracy):
    assert accuracy("grpo") <= 0.30
