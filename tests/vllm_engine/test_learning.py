"""The lab learns with vLLM: the weights that sample are those that are trained."""

from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import read_curve


RECIPES = Path(__file__).parents[2] / "recipes" / "quickstart"
STEPS = ["--max_steps", "80", "--logging_steps", "80", "--measure_steps", "80", "--learning_rate", "4e-4"]
VLLM = ["--use_vllm", "true", "--vllm_max_model_length", "96"]


@pytest.fixture
def accuracy(tmp_path):
    def train(method: str) -> float:
        line = ["train", "--config", str(RECIPES / f"{method}.yaml"), "--output_dir", str(tmp_path), *STEPS, *VLLM]
        assert main(line) == 0
        return read_curve(tmp_path)[-1]["accuracy"]

    return train


def test_prefix_rft_learns(accuracy):
    assert accuracy("prefix_rft") >= 0.80


def test_plain_grpo_does_not(accuracy):
    assert accuracy("grpo") <= 0.30
