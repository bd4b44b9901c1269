"""Small stand-ins for what the recipes take from the Hub: a model of each kind, problems with solutions."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

from prefix_rft_trl.cli.main import main


KINDS = {
    "Qwen/Qwen2.5-Math-7B": Qwen2Config,
    "Qwen/Qwen2.5-Math-1.5B": Qwen2Config,
    "meta-llama/Llama-3.1-8B": LlamaConfig,
    "Qwen/Qwen3-1.7B-Base": Qwen3Config,
}
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>"]
TOKENS += ["<|start_header_id|>", "<|end_header_id|>"]


def tokenizer_of_bytes() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=TOKENS, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([], trainer)
    ends = {"pad_token": TOKENS[0], "eos_token": TOKENS[0], "bos_token": "<|begin_of_text|>"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, padding_side="left", **ends)


def as_on_the_hub(config: dict) -> dict:
    """A config of an older transformers, as these models have on the Hub."""
    older = {name: value for name, value in config.items() if name != "rope_parameters"}
    return {**older, "rope_theta": 10000.0, "max_position_embeddings": 4096}


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each model of the recipes, by its name on the Hub."""
    tokenizer, folders = tokenizer_of_bytes(), {}
    for name, kind in KINDS.items():
        folders[name] = tmp_path_factory.mktemp("hub") / name.split("/")[1]
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
        torch.manual_seed(0)
        config = kind(vocab_size=len(tokenizer), eos_token_id=0, pad_token_id=0, bos_token_id=None, **sizes, **heads)
        AutoModelForCausalLM.from_config(config).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
        path = folders[name] / "config.json"
        path.write_text(json.dumps(as_on_the_hub(json.loads(path.read_text()))))
    return folders


@pytest.fixture(scope="session")
def openr1_rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of rows like those of OpenR1-Math on the Hub."""
    rows = [
        {
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": f"{number}+1?"}],
            "target": [{"role": "assistant", "content": f"<think>\nOne more.\n</think>\n\\boxed{{{number + 1}}}."}],
            "reward_model": {"ground_truth": str(number + 1)},
        }
        for number in range(16)
    ]
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="session")
def problems(openr1_rows: str) -> str:
    """The dataset that `prefix-rft data openr1-math` makes of them."""
    output = str(Path(openr1_rows).with_name("problems.parquet"))
    assert main(["data", "openr1-math", "--input", openr1_rows, "--output", output]) == 0
    return output
