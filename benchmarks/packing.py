"""Packed beside padded rows: processor time of a pass of the loss, forward and backward, on a CPU.

    python benchmarks/packing.py

With `sdpa`, whose mask takes the square of all packed tokens. Rows are padded to the longest of them, so the ratio is
what `padding_free` changes beside `trim_padding`.
"""

import argparse
import inspect
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from prefix_rft_trl.passes.packing import PackedModel


PROMPT, MEDIAN, LONGEST, SIGMA = 20, 64, 384, 0.9  # tokens, and the deviation of the logarithm of a length
MODEL = {
    "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
ROWS = (2, 4, 8, 16)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows of a pass")
    parser.add_argument("--rounds", type=int, default=8, help="passes of each kind")
    parsed = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM._from_config(Qwen2Config(**MODEL), attn_implementation="sdpa")
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    print("| rows | rows as they come | rows of equal length |\n| ---: | ----------------: | -------------------: |")
    for rows in parsed.rows:
        ragged = [ragged_lengths(rows) for _ in range(parsed.rounds)]
        ratios = [packed_to_padded(model, batches) for batches in (ragged, [[MEDIAN] * rows] * parsed.rounds)]
        print(f"| {rows:4} | {ratios[0]:17.2f} | {ratios[1]:20.2f} |")


def ragged_lengths(rows: int) -> list[int]:
    return (MEDIAN * (SIGMA * torch.randn(rows)).exp()).clamp(2, LONGEST).int().tolist()


def packed_to_padded(model: Any, batches: list[list[int]]) -> float:
    seconds = {False: 0.0, True: 0.0}
    seconds_of_pass(model, batches[0])
    for lengths in batches:
        for is_packed in seconds:
            seconds[is_packed] += seconds_of_pass(PackedModel(model) if is_packed else model, lengths)
    return seconds[True] / seconds[False]


def seconds_of_pass(model: Any, lengths: list[int]) -> float:
    mask = torch.zeros(len(lengths), PROMPT + max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, : PROMPT + length] = 1
    ids = torch.randint(3, MODEL["vocab_size"], mask.shape)
    score = inspect.unwrap(GRPOTrainer._get_per_token_logps_and_entropies)
    trainer = SimpleNamespace(accelerator=SimpleNamespace(autocast=nullcontext))
    start = time.process_time()
    score(trainer, model, ids, mask, max(lengths))[0].sum().backward()
    return time.process_time() - start


if __name__ == "__main__":
    main()
