"""The lab learns with vLLM: the weights that sample are those that are trained."""

import subprocess
import sys
from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import read_curve


RECIPES = Path(__file__).parents[2] / "recipes" / "quickstart"
STEPS = ["--max_steps", "80", "--logging_steps", "80", "--measure_steps", "80", "--learning_rate", "4e-4"]
VLLM = ["--use_vllm", "true", "--vllm_max_model_length", "96"]


@pytest.fixture
def accuracy(tmp_path):
    """Accuracy after training by a recipe, in a process of its own: the command ends its process groups."""

    def train(method: str) -> float:
        line = ["train", "--config", str(RECIPES / f"{method}.yaml"), "--output_dir", str(tmp_path), *STEPS, *VLLM]
        done = subprocess.run([sys.executable, __file__, *line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return read_curve(tmp_path)[-1]["accuracy"]

    return train


def test_prefix_rft_learns(accuracy):
    assert accuracy("prefix_rft") >= 0.80


def test_plain_grpo_does_not(accuracy):
    assert accuracy("grpo") <= 0.30


if __name__ == "__main__":
    from conftest import on_a_cpu

    with on_a_cpu():
        sys.exit(main(sys.argv[1:]))
