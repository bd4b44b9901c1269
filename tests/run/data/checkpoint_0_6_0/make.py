"""Makes the files next to this one, with 0.6.0 (commit c9f6103) installed:

    cd tests/run/data/checkpoint_0_6_0 && python make.py

`run` is the folder of a run that SIGTERM stopped within its second generation batch; `expected.safetensors` are the
weights with which 0.6.0 itself ended when it resumed the run.
"""

import os
import shutil
import signal
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM


calls = 0


def graded_reward(completions: list[str], **kwargs: object) -> list[float]:
    """Varies within almost every group, and sends SIGTERM in the call that STOP_IN_CALL counts to."""
    global calls
    calls += 1
    if os.environ.get("STOP_IN_CALL") == str(calls):
        signal.raise_signal(signal.SIGTERM)
    return [sum(map(ord, completion)) % 11 / 10 for completion in completions]


def save_random_model(folder: str) -> None:
    from prefix_rft_trl import lab

    tokenizer = AutoTokenizer.from_pretrained(lab.base_model_path())
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make() -> None:
    from prefix_rft_trl.cli.main import main

    save_random_model("model")
    os.environ["STOP_IN_CALL"] = "4"  # two are the first batch and the second, two measure accuracy at steps 0 and 4
    assert main(["train", "--config", "recipe.yaml"]) == 0
    del os.environ["STOP_IN_CALL"]
    shutil.copytree("run", "resumed")
    assert (
        main(["train", "--config", "recipe.yaml", "--output_dir", "resumed", "--resume_from_checkpoint", "last"]) == 0
    )
    Path("resumed/model.safetensors").rename("expected.safetensors")
    shutil.rmtree("resumed")
    shutil.rmtree("model")


if __name__ == "__main__":
    make()
