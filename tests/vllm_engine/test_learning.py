"""The lab learns with vLLM: the weights that sample are those that are trained."""

import pytest

from prefix_rft_trl.lab import experiment


SETTINGS = {
    "max_steps": 80, "learning_rate": 4e-4, "logging_steps": 80, "use_vllm": True, "vllm_max_model_length": 96,
}  # fmt: skip


@pytest.mark.parametrize(("method", "lowest", "highest"), [("prefix_rft", 0.80, 1.0), ("grpo", 0.0, 0.30)])
def test_prefix_rft_learns_where_grpo_does_not(tmp_path, method, lowest, highest):
    assert lowest <= experiment.run(method, str(tmp_path), **SETTINGS)["accuracy"] <= highest
