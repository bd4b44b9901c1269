"""Memory and time of a training, from the sizes of its model and the speed of its device.

Memory is that of the busiest device: weights, gradients and optimizer, and beside them the larger of two that follow
each other: what sampling takes (vLLM's share, which sleep mode frees, or the keys and values of `generate`), and the
activations of one forward and backward pass. Time is that of sampling and training; loading, rewards, measurements,
synchronising and saving are left out. docs/recipes.md has the formulas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .devices import Device
from .model_size import ModelSize


GB = 1e9
PROMPT = 150  # tokens, assumed
LONGEST_PROMPT = 1024
MEAN_SHARE = 0.4  # of the budget that an average completion or demonstration takes, assumed
SHARE_OF_OPERATIONS = 0.35  # that training reaches, assumed
SHARE_OF_BANDWIDTH = 0.5  # that decoding reaches, assumed
OVERHEAD_OF_STEP = 0.004  # seconds of vLLM's decoding step beside reading memory, assumed
OVERHEAD_OF_LAYER = 0.0008  # and of `generate`, which starts each operation from Python, assumed
LOGITS_TILE = (4096, 32768)  # tokens and vocabulary, of TRL's fused LM head, in three copies
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Workload:
    """What a training asks of each of its devices.

    Attributes:
        rows, accumulation (`int`): rows of a forward pass, and passes of a step.
        sampled (`int`): rows that are sampled at a time, which train for `sampled / rows * iterations` passes.
        iterations (`int`): how often a sampled row is trained on.
        budget (`int`): tokens of a completion or a demonstration at most.
        prompt, answer (`float`): tokens of an average prompt, and of an average completion or demonstration.
        samples (`bool`): whether completions are sampled; not in SFT.
        rank (`int`): of the adapter; 0 without one.
        vllm_share (`float`): of the device's memory that vLLM has in the training processes; 0 without it.
        has_vllm (`bool`): whether vLLM samples, there or elsewhere.
        vllm_devices (`int`): devices that share the weights of vLLM, and sample the rows of all of them.
        weight, activation (`float`): bytes of a number.
        shards (`int`): devices that share gradients and optimizer.
        has_checkpoints (`bool`): whether activations of a layer are computed again (`gradient_checkpointing`).
    """

    rows: int
    accumulation: int
    sampled: int
    iterations: int
    budget: int
    prompt: float
    answer: float
    samples: bool
    rank: int
    vllm_share: float
    has_vllm: bool
    vllm_devices: int
    weight: float
    activation: float
    shards: int
    has_checkpoints: bool

    @classmethod
    def from_settings(
        cls,
        settings: Mapping[str, Any],
        shards: int = 1,
        prompt: float = PROMPT,
        answer: float | None = None,
        longest: int | None = None,
    ) -> "Workload":
        """
        Args:
            settings (`Mapping`): of a recipe.
            shards, prompt, answer: as the attributes; an answer takes `MEAN_SHARE` of its budget by default.
            longest (`int`, *optional*): tokens of the longest demonstration of SFT, by default what `max_length`
                leaves of it.
        """
        is_sft, has_vllm = settings.get("trainer") == "sft", bool(settings.get("use_vllm"))
        if is_sft:
            budget = longest or (settings.get("max_length") or 2 * LONGEST_PROMPT) - LONGEST_PROMPT
        else:
            budget = settings["max_completion_length"]
        is_here = has_vllm and settings.get("vllm_mode") != "server"
        rows, accumulation = settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]
        passes = settings.get("steps_per_generation")
        passes = passes or (settings.get("generation_batch_size") or rows * accumulation * shards) // (rows * shards)
        bits = 4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else 0
        return cls(
            rows=rows,
            accumulation=accumulation,
            sampled=rows * passes,
            iterations=settings.get("num_iterations", 1),
            budget=budget,
            prompt=prompt,
            answer=MEAN_SHARE * budget if answer is None else answer,
            samples=not is_sft,
            rank=settings["lora_r"] if settings.get("use_peft") else 0,
            vllm_share=settings["vllm_gpu_memory_utilization"] if is_here else 0.0,
            has_vllm=has_vllm,
            vllm_devices=settings.get("vllm_tensor_parallel_size", 1) if is_here else 1,
            weight=bits / 8 or WEIGHT_BYTES.get(str(settings.get("dtype", "float32")), 2.0),
            activation=2.0 if settings.get("bf16", True) or settings.get("fp16") else 4.0,
            shards=shards,
            has_checkpoints=settings.get("gradient_checkpointing", True),
        )


def memory(work: Workload, model: ModelSize, device: Device) -> float:
    """Bytes on the busiest device."""
    trained = model.adapter(work.rank) if work.rank else model.parameters
    if work.shards > 1:  # weights in bfloat16, with a copy in float32 that is shared
        states = 2 * model.parameters + (16 if work.rank else 14) * trained / work.shards
    else:
        states = work.weight * model.parameters + (16 if work.rank else 3 * work.weight) * trained
    return states + max(_activations(work, model), _sampling_memory(work, model, device))


def _activations(work: Workload, model: ModelSize) -> float:
    tokens = work.rows * (work.prompt + work.budget)
    checkpoints = model.layers * tokens * model.hidden * work.activation
    one_layer = tokens * (10 * model.hidden + 4 * model.intermediate) * work.activation
    of_layers = checkpoints + one_layer if work.has_checkpoints else model.layers * one_layer
    tile = min(LOGITS_TILE[0], tokens) * min(LOGITS_TILE[1], model.vocabulary) * 4 * 3
    return of_layers + tile + (0 if work.rank else 4 * model.vocabulary * model.hidden)


def _sampling_memory(work: Workload, model: ModelSize, device: Device) -> float:
    if not work.samples:
        return 0.0
    if work.has_vllm:
        return work.vllm_share * device.memory
    cache = model.elements_of_token * work.activation
    return work.sampled * (work.prompt + work.budget) * cache


def seconds_to_sample(work: Workload, model: ModelSize, device: Device) -> float:
    """Decoding of the completions that are sampled at a time, limited by how fast memory is read."""
    rows = work.sampled * work.vllm_devices
    weight = 2.0 if work.has_vllm else work.weight
    cache = (work.prompt + work.answer) * model.elements_of_token * (2.0 if work.has_vllm else work.activation)
    room = work.vllm_devices * work.vllm_share * device.memory - weight * model.parameters
    at_a_time = max(1.0, min(rows, room / cache)) if work.vllm_share else rows
    read = (weight * model.parameters + at_a_time * cache) / work.vllm_devices
    overhead = OVERHEAD_OF_STEP if work.has_vllm else OVERHEAD_OF_LAYER * model.layers
    of_step = read / (SHARE_OF_BANDWIDTH * device.bandwidth) + overhead
    computed = 2 * model.parameters * work.sampled * work.answer / (SHARE_OF_OPERATIONS * device.operations)
    return max(of_step * max(work.budget, rows / at_a_time * work.answer), computed)


def seconds_to_train(work: Workload, model: ModelSize, device: Device) -> float:
    """Forward, again for the checkpoints, backward (2 + 2 + 4 operations a parameter and token), and log-probs (2)."""
    tokens = work.rows * work.accumulation * (work.prompt + work.answer)
    operations = (8 if work.has_checkpoints else 6) + (2 / work.iterations if work.samples else 0)
    return operations * model.parameters * tokens / (SHARE_OF_OPERATIONS * device.operations)


def seconds_of_step(work: Workload, model: ModelSize, device: Device) -> float:
    """An optimizer step, with its share of the sampling."""
    steps_of_sampled = work.sampled / work.rows * work.iterations / work.accumulation
    sampling = seconds_to_sample(work, model, device) / steps_of_sampled if work.samples else 0.0
    return sampling + seconds_to_train(work, model, device)
