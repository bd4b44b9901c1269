"""Small stand-ins for what the recipes take from the Hub: a model of each kind, problems with solutions."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from prefix_rft_trl.cli.main import main


KINDS = {
    "Qwen/Qwen2.5-Math-7B": Qwen2Config,
    "Qwen/Qwen2.5-Math-1.5B": Qwen2Config,
    "meta-llama/Llama-3.1-8B": LlamaConfig,
    "Qwen/Qwen3-1.7B-Base": Qwen3Config,
}
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>"]
TOKENS += ["<|start_header_id|>", "<|end_header_id|>"]


def as_on_the_hub(config: dict) -> dict:
    """A config of an older transformers, as these models have on the Hub."""
    older = {name: value for name, value in config.items() if name != "rope_parameters"}
    positions = 4096 if config["model_type"] == "qwen2" else 32768
    return {**older, "rope_theta": 10000.0, "max_position_embeddings": positions}


@pytest.fixture(scope="session")
def stand_ins(byte_tokenizer: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each model of the recipes, by its name on the Hub."""
    ends = {"pad_token": TOKENS[0], "eos_token": TOKENS[0], "bos_token": "<|begin_of_text|>"}
    tokenizer, folders = byte_tokenizer(special_tokens=TOKENS, **ends), {}
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
def cost() -> ModuleType:
    """The script benchmarks/expected_cost.py."""
    path = Path(__file__).parents[2] / "benchmarks" / "expected_cost.py"
    spec = importlib.util.spec_from_file_location("expected_cost", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture(scope="session")
def openr1_rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of rows like those of OpenR1-Math on the Hub."""
    rows = [
        {
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": f"{number}+1?"}],
            "target": [{"role": "assistant", "content": f"<think>\nOne more.\n</think>\n\\boxed{{{number + 1}}}."}],
            "reward_model": {"ground_truth": str(number + 1)},
        }
        for number in range(40)
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
