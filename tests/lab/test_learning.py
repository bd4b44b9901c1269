"""Prefix-RFT solves the lab whichever engine samples; tests/vllm_engine trains it with vLLM."""

import json
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import read_curve


RECIPES = Path(__file__).parents[2] / "recipes"
BATCHING = {"num_blocks": 64, "block_size": 32, "max_batch_tokens": 512}
LENGTH_OF_RUN = ("lab_level", "output_dir", "reward_funcs", "reward_weights", "max_steps", "measure_steps")


@pytest.mark.parametrize("method", ["grpo", "prefix_rft"])
def test_the_quickstart_differs_from_the_recipe_of_the_hard_level_in_level_and_length_alone(method):
    easy, hard = (
        yaml.safe_load((RECIPES / folder / f"{method}.yaml").read_text()) for folder in ("quickstart", "lab")
    )
    assert hard.pop("measure_rows") == 256  # the quickstart measures all 512
    assert easy.keys() - hard.keys() == {"reward_weights"}
    assert {name for name in easy if easy[name] != hard.get(name)} == set(LENGTH_OF_RUN)


def test_prefix_rft_learns_with_continuous_batching(tmp_path):
    line = ["train", "--config", str(RECIPES / "quickstart" / "prefix_rft.yaml"), "--output_dir", str(tmp_path)]
    line += ["--max_steps", "70", "--logging_steps", "70", "--measure_steps", "70"]
    line += ["--use_transformers_continuous_batching", "true"]
    assert main([*line, "--transformers_continuous_batching_config", json.dumps(BATCHING)]) == 0
    assert read_curve(tmp_path)[-1]["accuracy"] >= 0.80  # plain GRPO has 0.2 after 120 steps, as the base model
