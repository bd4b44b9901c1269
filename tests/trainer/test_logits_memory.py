"""A training step never holds all logits: what it holds at once does not grow with vocabulary x length.

TRL projects hidden states to the vocabulary in tiles. The tiles are made small here, so that small tensors show it,
and the sampler is replaced by random tokens, so that the loss is what a step consists of.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM
from trl.kernels import chunked_logprob
from trl.trainer import utils

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab
from prefix_rft_trl.method.selections import SELECTIONS
from prefix_rft_trl.method.token_laws import TOKEN_LAWS
from prefix_rft_trl.utils.loss_kernels import INTERPRETER


ROLLOUTS = 8
TILE = (128, 4096)  # tokens, vocabulary
SMALL, LARGE = (8192, 32), (65536, 96)  # vocabulary, tokens of a completion


class LargestTensor(TorchDispatchMode):
    """Bytes of the largest tensor that any operation makes, backward passes included."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        self.nbytes = max([self.nbytes, *(tensor.untyped_storage().nbytes() for tensor in tensors_of(made))])
        return made


def tensors_of(made: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]


def long_completions(
    input_ids: torch.Tensor, generation_config: Any, logits_processor: Any = (), **others: Any
) -> torch.Tensor:
    """In the place of `model.generate`: after its prefix every row decodes tokens of the lab until the budget."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(generation_config.max_new_tokens):
        scores = torch.rand(len(input_ids), 18, generator=generator)
        scores[:, :2] = -torch.inf  # no end
        for process in logits_processor:
            scores = process(input_ids, scores)
        input_ids = torch.cat([input_ids, scores.argmax(dim=1, keepdim=True)], dim=1)
    return input_ids


def with_all_logits(hidden, weight, bias, targets, temperature, *others):
    """In the place of TRL's kernel: the same values, from all logits at once."""
    logps = ((hidden @ weight.T).float() / temperature).log_softmax(-1)
    entropies = -(logps.exp() * logps).sum(-1)
    return logps.gather(-1, targets.unsqueeze(-1)).squeeze(-1), entropies, None, None, None


def train_a_step(folder: str, vocabulary: int, length: int, **settings: Any) -> PrefixGRPOTrainer:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, eos_token_id=1, pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    defaults = {
        "max_completion_length": length, "per_device_train_batch_size": ROLLOUTS, "num_generations": 4,
        "num_prefix_generations": 2, "max_steps": 1, "use_cpu": True, "bf16": False, "report_to": "none",
        "save_strategy": "no", "disable_tqdm": True,
        "num_iterations": 2,  # so that the log-probabilities of the policy that sampled are computed as well
    }  # fmt: skip
    trainer = PrefixGRPOTrainer(
        folder,
        lambda completions, **others: [row % 4 / 3 for row, _ in enumerate(completions)],  # every row is trained
        PrefixGRPOConfig(folder, **{**defaults, **settings}),
        lab.load_dataset("train", 16),
        processing_class=AutoTokenizer.from_pretrained(lab.base_model_path(), padding_side="left"),
    )
    trainer.model.generate = long_completions
    trainer.train()
    return trainer


@contextmanager
def kernel(all_logits: bool = False) -> Iterator[None]:
    """TRL's kernel with small tiles, or what it replaces."""
    tokens, vocabulary = TILE
    function = utils._ChunkedLogProbFunction
    with (
        patch.object(chunked_logprob, "TOKEN_CHUNK_SIZE", tokens),
        patch.object(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", vocabulary),
        patch.object(function, "apply", with_all_logits if all_logits else function.apply),
    ):
        yield


def largest_tensor(folder: Path, all_logits: bool = False, **settings: Any) -> tuple[PrefixGRPOTrainer, int]:
    with kernel(all_logits), LargestTensor() as largest:
        trainer = train_a_step(str(folder), 4 * TILE[1], length=64, **settings)
    return trainer, largest.nbytes


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"prefix_loss_type": name, "prefix_loss_coef": 0.1, "prefix_top_entropy_quantile": 0.2}
            for name in TOKEN_LAWS
        ),
        *({"prefix_selection": name} for name in SELECTIONS),
        {"beta": 0.1, "entropy_coef": 0.1, "top_entropy_quantile": 0.5},
        {"bf16": True, "prefix_loss_type": "shaped"},
    ],
    ids=str,
)
def test_no_step_holds_all_logits(tmp_path, settings):
    trainer, nbytes = largest_tensor(tmp_path, **settings)
    batch = trainer._buffered_inputs[0]
    assert batch["completion_mask"].all()
    assert (batch["prefix_lengths"] > 0).sum() == 4
    assert "old_per_token_logps" in batch
    assert ("ref_per_token_logps" in batch) == ("beta" in settings)
    in_float32 = 4 * TILE[0] * TILE[1]
    assert nbytes in (in_float32, in_float32 // 2 if "bf16" in settings else in_float32)
    assert in_float32 < batch["completion_ids"].numel() * 4 * TILE[1] * 2


def test_logits_held_at_once_would_be_noticed(tmp_path):
    _, nbytes = largest_tensor(tmp_path, all_logits=True)
    assert nbytes >= ROLLOUTS * 64 * 4 * TILE[1] * 4


def peak() -> int:
    """Of this process's resident memory so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # rusage has the peak of the process that started this one, where that is larger
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peaks() -> list[int]:
    """The peak after a step that is small, then large, then large with all logits at once."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for shape, all_logits in ((SMALL, False), (LARGE, False), (LARGE, True)):
            with kernel(all_logits):
                train_a_step(folder, *shape)
            found.append(peak())
    return found


@pytest.mark.skipif(os.getenv(INTERPRETER) == "1", reason="Triton's interpreter copies what its kernels read")
def test_peak_memory_does_not_grow_with_vocabulary_times_length():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    small, large, with_all_logits = json.loads(done.stdout.splitlines()[-1])
    vocabulary, length = LARGE
    logits_in_float32 = ROLLOUTS * length * vocabulary * 4
    assert large - small < 0.25 * logits_in_float32
    assert with_all_logits - small > 2 * logits_in_float32  # the measure sees them


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(peaks()))
