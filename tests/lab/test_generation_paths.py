"""The lab learns whichever engine samples; `generate` is held by the notebook, vLLM and ZeRO-2 by their own tests."""

from prefix_rft_trl.lab.experiment import run


BATCHING = {"num_blocks": 64, "block_size": 32, "max_batch_tokens": 512}


def test_the_lab_learns_with_continuous_batching(tmp_path):
    result = run(
        "prefix_rft",
        str(tmp_path),
        max_steps=70,
        logging_steps=70,
        use_transformers_continuous_batching=True,
        transformers_continuous_batching_config=BATCHING,
    )
    assert result["accuracy"] >= 0.80  # plain GRPO has 0.2 after 120 steps, as the base model
