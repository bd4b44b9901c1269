"""What a recipe for a large model takes in memory and time: an estimate from sizes and speeds, not a measurement.

    python benchmarks/expected_cost.py recipes/qwen2.5-math-7b/prefix_rft.yaml

Memory is that of the busiest GPU: weights, gradients and optimizer (under ZeRO-2 where there are several), and beside
them the larger of two that follow each other, vLLM's share while it samples (sleep mode frees it) and the activations
of one forward and backward pass. Time is that of sampling and training; loading, rewards, synchronising and saving are
left out. docs/recipes.md has the formulas.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prefix_rft_trl.utils.recipe_files import find_recipe_file


GB = 1e9


@dataclass(frozen=True)
class Gpu:
    """Memory in bytes, dense bfloat16 operations and bytes of memory a second, from the maker's data sheet."""

    name: str
    memory: float
    operations: float
    bandwidth: float


@dataclass(frozen=True)
class Model:
    """Sizes from the model's config.json, and how many parameters it has."""

    parameters: float
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    key_value_heads: int
    head: int = 128

    @property
    def cache_of_token(self) -> int:
        return 2 * 2 * self.layers * self.key_value_heads * self.head

    def adapter(self, rank: int) -> int:
        """Parameters of an adapter on all linear layers but the head."""
        hidden, of_keys = self.hidden, self.key_value_heads * self.head
        of_layer = 2 * (hidden + hidden) + 2 * (hidden + of_keys) + 3 * (hidden + self.intermediate)
        return rank * self.layers * of_layer


GPUS = {
    "h100": Gpu("H100", 80e9, 989e12, 3.35e12),
    "rtx4090": Gpu("RTX 4090", 24e9, 165e12, 1.01e12),
}
MODELS = {
    "Qwen/Qwen2.5-Math-7B": Model(7.62e9, 28, 3584, 18944, 152064, 4),
    "Qwen/Qwen2.5-Math-1.5B": Model(1.54e9, 28, 1536, 8960, 151936, 2),
    "meta-llama/Llama-3.1-8B": Model(8.03e9, 32, 4096, 14336, 128256, 8),
    "Qwen/Qwen3-1.7B-Base": Model(1.72e9, 28, 2048, 6144, 151936, 8),
}

PROMPT = 150  # tokens, assumed
LONGEST_PROMPT = 1024
MEAN_SHARE = 0.4  # of the budget that an average completion or demonstration takes, assumed
SHARE_OF_OPERATIONS = 0.35  # that training reaches, assumed
SHARE_OF_BANDWIDTH = 0.5  # that decoding reaches, assumed
OVERHEAD_OF_STEP = 0.004  # seconds of a decoding step beside reading memory, assumed
LOGITS_TILE = 4096 * 32768 * 4 * 3  # of TRL's fused LM head, in three copies


def memory(settings: dict[str, Any], model: Model, gpu: Gpu, gpus: int) -> float:
    """Bytes on the busiest GPU."""
    is_adapter = settings.get("use_peft", False)
    trained = model.adapter(settings["lora_r"]) if is_adapter else model.parameters
    states = 2 * model.parameters + (16 if is_adapter else 14) * trained / gpus
    rows, tokens = settings["per_device_train_batch_size"], PROMPT + budget(settings)
    checkpoints = model.layers * rows * tokens * model.hidden * 2
    one_layer = rows * tokens * (10 * model.hidden + 4 * model.intermediate) * 2
    head = LOGITS_TILE + (0 if is_adapter else 4 * model.vocabulary * model.hidden)
    of_vllm = settings.get("vllm_gpu_memory_utilization", 0) * gpu.memory if settings.get("use_vllm") else 0
    return states + max(checkpoints + one_layer + head, of_vllm)


def budget(settings: dict[str, Any]) -> int:
    """Tokens of a completion or a demonstration at most."""
    is_sft = settings.get("trainer") == "sft"
    return settings["max_length"] - LONGEST_PROMPT if is_sft else settings["max_completion_length"]


def seconds_to_sample(settings: dict[str, Any], model: Model, gpu: Gpu) -> float:
    """Decoding of one step's completions on one GPU, limited by how fast memory is read."""
    rows = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    mean = MEAN_SHARE * budget(settings)
    cache = (PROMPT + mean) * model.cache_of_token
    room = settings["vllm_gpu_memory_utilization"] * gpu.memory - 2 * model.parameters
    at_a_time = min(rows, room / cache)
    read = 2 * model.parameters + at_a_time * cache
    of_step = read / (SHARE_OF_BANDWIDTH * gpu.bandwidth) + OVERHEAD_OF_STEP
    return of_step * max(budget(settings), rows / at_a_time * mean)


def seconds_to_train(settings: dict[str, Any], model: Model, gpu: Gpu) -> float:
    """Forward, again for the checkpoints, backward (2 + 2 + 4 operations a parameter and token), and log-probs (2)."""
    rows = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
    tokens = rows * (PROMPT + MEAN_SHARE * budget(settings))
    operations = 8 if settings.get("trainer") == "sft" else 10
    return operations * model.parameters * tokens / (SHARE_OF_OPERATIONS * gpu.operations)


def estimate(settings: dict[str, Any], gpu: Gpu, gpus: int, demonstrations: int) -> str:
    """What one training takes, in a line."""
    model = MODELS[settings["model_name_or_path"]]
    of_step = seconds_to_train(settings, model, gpu)
    if settings.get("trainer") == "sft":
        rows = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * gpus
        steps = settings["num_train_epochs"] * demonstrations / rows
        length = f"{settings['num_train_epochs']} passes over {demonstrations:,} demonstrations"
    else:
        of_step += seconds_to_sample(settings, model, gpu)
        steps, length = settings["max_steps"], f"{settings['max_steps']} steps"
    used = memory(settings, model, gpu, gpus) / GB
    return (
        f"{used:.0f} of {gpu.memory / GB:.0f} GB a GPU, {of_step:.3g} s a step, "
        f"{of_step * steps / 3600:.2g} hours for {length}"
    )


def trainings(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    shared = {name: value for name, value in recipe.items() if name != "stages"}
    return {name: {**shared, **own} for name, own in recipe.get("stages", {"": {}}).items()}


def report(path: Path, gpu: Gpu, gpus: int, demonstrations: int) -> list[str]:
    """A line for each training of a recipe."""
    recipe = yaml.safe_load(find_recipe_file(path).read_text(encoding="utf-8"))
    return [
        ": ".join(filter(None, (name, estimate(settings, gpu, gpus, demonstrations))))
        for name, settings in trainings(recipe).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--gpu", choices=GPUS, default="h100")
    parser.add_argument("--gpus", type=int, default=8, help="of one node (8)")
    parser.add_argument("--demonstrations", type=int, default=46_000, help="of the dataset, for SFT (46000)")
    arguments = parser.parse_args()
    print("\n".join(report(arguments.recipe, GPUS[arguments.gpu], arguments.gpus, arguments.demonstrations)))


if __name__ == "__main__":
    main()
