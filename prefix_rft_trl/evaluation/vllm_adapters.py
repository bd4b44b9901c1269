"""Which adapters vLLM runs as PEFT does."""

import json
from pathlib import Path

from prefix_rft_trl.models.sources import ADAPTER_CONFIG


RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM reserves memory for
# Of an adapter's config: vLLM refuses the first two once it has loaded, and runs the others as if they were not set.
NOT_IN_VLLM = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "trainable_token_indices",
    "layer_replication",
)


def rank_of_adapter(folder: str) -> int:
    """The smallest rank of vLLM that an adapter fits into.

    Raises:
        ValueError: if vLLM would not run the adapter, or would run it differently.
    """
    config = json.loads((Path(folder) / ADAPTER_CONFIG).read_text())
    found = [f"`{name}`" for name in NOT_IN_VLLM if config.get(name)]
    if config.get("bias", "none") != "none":
        found.append("`bias`")
    kind, rank = config.get("peft_type", "LORA"), config.get("r", 0)
    if kind != "LORA":
        found = [f"`peft_type` {kind}"]
    elif rank > RANKS[-1]:
        found.append(f"`r` {rank}")
    if found:
        raise ValueError(
            f"vLLM does not run the adapter {folder} as it was trained: {', '.join(found)} in its {ADAPTER_CONFIG}. "
            "Take `--backend transformers`, or merge the adapter into its base."
        )
    return next(size for size in RANKS if size >= rank)
