"""Memory and time of a training, from the sizes of its model and the speed of its device.

Memory is that of the busiest device: weights, gradients and optimizer, and beside them the larger of two that follow
each other: what sampling takes (vLLM's share, which sleep mode frees, or the keys and values of `generate`), and the
activations of one forward and backward pass. Time is that of sampling and training; loading, rewards, measurements,
synchronising and saving are left out. docs/recipes.md has the formulas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.method.token_laws import TOKEN_LAWS

from .batch_layout import BatchLayout
from .completion_lengths import LengthDistribution
from .devices import Device
from .model_size import ModelSize


GB = 1e9
PROMPT = 150  # tokens, assumed
LONGEST_PROMPT = 1024
MEAN_SHARE = 0.4  # of the budget that an average completion or demonstration takes, assumed
WITHOUT_GRADIENT = 0.5  # of the groups, assumed
SHARE_OF_OPERATIONS = 0.35  # that training reaches, assumed
SHARE_OF_BANDWIDTH = 0.5  # that decoding reaches, assumed
OVERHEAD_OF_STEP = 0.004  # seconds of vLLM's decoding step beside reading memory, assumed
OVERHEAD_OF_LAYER = 0.0008  # and of `generate`, which starts each operation from Python, assumed
LOGITS_TILE = (4096, 32768)  # tokens and vocabulary, of TRL's fused LM head, in three copies
WEIGHT_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


def two_digits(number: float) -> str:
    """An estimate as text: `0.012`, `9.9`, `120`."""
    return f"{number:,.0f}" if number >= 99.5 else f"{number:.2g}"


def has_further_samples(settings: Mapping[str, Any]) -> bool:
    """Whether stages sample rollouts beside those that a step trains on: how many, rewards decide."""
    return bool(settings.get("prefix_stage_ratios")) and settings.get("prefix_stage_replaces") != "none"


@dataclass(frozen=True)
class Workload:
    """What a training asks of each of its devices.

    Attributes:
        layout (`BatchLayout`): how its rows become forward passes.
        lengths (`LengthDistribution`): of completions or demonstrations.
        without_gradient (`float`): share of the groups whose rewards are all equal; 0 in SFT.
        iterations (`int`): how often a sampled row is trained on.
        scorings (`int`): passes without gradient over what is sampled at a time, for log-probs of the policy that
            sampled and of the reference model.
        budget (`int`): tokens of a completion or a demonstration at most.
        prompt (`float`): tokens of a prompt; all prompts are taken to be of that length.
        samples (`bool`): whether completions are sampled; not in SFT.
        rank (`int`): of the adapter; 0 without one.
        vllm_share (`float`): of the device's memory that vLLM has in the training processes; 0 without it.
        has_vllm (`bool`): whether vLLM samples, there or elsewhere.
        vllm_devices (`int`): devices that share the weights of vLLM, and sample the rows of all of them.
        weight, activation (`float`): bytes of a number.
        shards (`int`): devices that share gradients and optimizer.
        has_checkpoints (`bool`): whether activations of a layer are computed again (`gradient_checkpointing`).
        demonstrations (`int`): of a second dataset in a pass, taken to be as long as completions.
    """

    layout: BatchLayout
    lengths: LengthDistribution
    without_gradient: float
    iterations: int
    scorings: int
    budget: int
    prompt: float
    samples: bool
    rank: int
    vllm_share: float
    has_vllm: bool
    vllm_devices: int
    weight: float
    activation: float
    shards: int
    has_checkpoints: bool
    demonstrations: int = 0

    @classmethod
    def from_settings(
        cls,
        settings: Mapping[str, Any],
        shards: int = 1,
        prompt: float = PROMPT,
        lengths: LengthDistribution | None = None,
        without_gradient: float = WITHOUT_GRADIENT,
        processes: int | None = None,
    ) -> "Workload":
        """
        Args:
            settings (`Mapping`): of a recipe.
            shards, prompt, without_gradient: as the attributes.
            lengths (`LengthDistribution`, *optional*): by default `MEAN_SHARE` of the budget on average, and all of
                it at most. The budget of SFT is the longest demonstration, by default what `max_length` leaves of it.
            processes (`int`, *optional*): that train; by default as many as `shards`.

        Raises:
            ValueError: if completions are longer than the budget, or `without_gradient` is no share.
        """
        is_sft, has_vllm = settings.get("trainer") == "sft", bool(settings.get("use_vllm"))
        if not is_sft:
            budget = settings["max_completion_length"]
        elif lengths is not None:
            budget = int(lengths.longest)
        else:
            budget = (settings.get("max_length") or 2 * LONGEST_PROMPT) - LONGEST_PROMPT
        lengths = lengths or LengthDistribution(MEAN_SHARE * budget, budget)
        if lengths.longest > budget:
            raise ValueError(
                f"completions of {lengths.longest:,g} tokens do not fit `max_completion_length` ({budget:,}): lower "
                "the longest, or raise the setting."
            )
        if not 0 <= without_gradient <= 1:
            raise ValueError(f"the share of groups without gradient ({without_gradient:g}) must be from 0 to 1.")
        is_here = has_vllm and settings.get("vllm_mode") != "server"
        layout = _layout(settings, processes or shards, is_sft)
        bits = 4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else 0
        return cls(
            layout=layout,
            lengths=lengths,
            without_gradient=0.0 if is_sft else without_gradient,
            iterations=settings.get("num_iterations", 1),
            scorings=0 if is_sft else _scorings(settings, layout),
            budget=budget,
            prompt=prompt,
            samples=not is_sft,
            rank=settings["lora_r"] if settings.get("use_peft") else 0,
            vllm_share=settings["vllm_gpu_memory_utilization"] if is_here else 0.0,
            has_vllm=has_vllm,
            vllm_devices=settings.get("vllm_tensor_parallel_size", 1) if is_here else 1,
            weight=bits / 8 or WEIGHT_BYTES.get(str(settings.get("dtype", "float32")), 2.0),
            activation=2.0 if settings.get("bf16", True) or settings.get("fp16") else 4.0,
            shards=shards,
            has_checkpoints=settings.get("gradient_checkpointing", True),
            demonstrations=settings.get("per_device_demonstration_batch_size", 0),
        )

    @property
    def assumptions(self) -> str:
        """The lengths and the groups without gradient that an estimate rests on."""
        if not self.samples:
            return f"demonstrations of {self.lengths}"
        trained = 1 - self.without_gradient * self.layout.left_out
        return (
            f"completions of {self.lengths}; {self.without_gradient:.0%} of groups without gradient, "
            f"{trained:.0%} of rows trained"
        )


def _layout(settings: Mapping[str, Any], processes: int, is_sft: bool) -> BatchLayout:
    rows, accumulation = settings["per_device_train_batch_size"], settings["gradient_accumulation_steps"]
    passes = settings.get("steps_per_generation")
    sampled = settings.get("generation_batch_size") or rows * accumulation * processes
    passes = passes or max(1, sampled // (rows * processes))
    is_grouped = settings.get("group_rollouts_by_length", True) and settings.get("loss_type") != "bnpo"
    return BatchLayout(
        rows=rows,
        accumulation=accumulation,
        sampled=rows * passes,
        processes=processes,
        group=1 if is_sft else settings.get("num_generations", 8),
        has_own_width=is_sft or settings.get("trim_padding", True),
        is_grouped=not is_sft and is_grouped and _has_policy_loss_alone(settings),
        left_out=0.0 if is_sft else _left_out(settings),
        is_packed=bool(settings.get("padding_free") or (is_sft and settings.get("packing"))),
    )


def _has_policy_loss_alone(settings: Mapping[str, Any]) -> bool:
    """Whether the loss has no part that depends on which rows share a pass."""
    has_bonus = settings.get("entropy_coef") or settings.get("use_adaptive_entropy")
    return not (has_bonus or settings.get("router_aux_loss_coef") or settings.get("top_entropy_quantile", 1.0) < 1)


def _left_out(settings: Mapping[str, Any]) -> float:
    """Share of the rows of a group without gradient that the loss does not need."""
    skips = settings.get("skip_zero_weight_rollouts", True)
    if not skips or settings.get("beta") or not _has_policy_loss_alone(settings):
        return 0.0
    needs_prefixes = not TOKEN_LAWS[settings.get("prefix_loss_type", "ppo")].takes_advantage
    needs_prefixes = needs_prefixes or settings.get("prefix_advantage", "group").startswith("dr_grpo")
    hybrids = settings.get("num_prefix_generations", 1) if needs_prefixes else 0
    return 1 - hybrids / settings.get("num_generations", 8)


def _scorings(settings: Mapping[str, Any], layout: BatchLayout) -> int:
    corrects = settings.get("use_vllm") and settings.get("vllm_importance_sampling_correction", True)
    passes = layout.sampled // layout.rows * settings.get("num_iterations", 1)
    has_old_policy = bool(corrects) or layout.accumulation % passes != 0
    return has_old_policy + bool(settings.get("beta"))


def memory(work: Workload, model: ModelSize, device: Device) -> float:
    """Bytes on the busiest device."""
    trained = model.adapter(work.rank) if work.rank else model.parameters
    if work.shards > 1:  # weights in bfloat16, with a copy in float32 that is shared
        states = 2 * model.parameters + (16 if work.rank else 14) * trained / work.shards
    else:
        states = work.weight * model.parameters + (16 if work.rank else 3 * work.weight) * trained
    return states + max(_activations(work, model), _sampling_memory(work, model, device))


def _activations(work: Workload, model: ModelSize) -> float:
    tokens = (work.layout.rows + work.demonstrations) * (work.prompt + work.budget)
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
    return work.layout.sampled * (work.prompt + work.budget) * cache


def seconds_to_sample(work: Workload, model: ModelSize, device: Device) -> float:
    """Decoding of the completions that are sampled at a time, limited by how fast memory is read."""
    sampled, answer = work.layout.sampled, work.lengths.mean
    rows = sampled * work.vllm_devices
    weight = 2.0 if work.has_vllm else work.weight
    cache = (work.prompt + answer) * model.elements_of_token * (2.0 if work.has_vllm else work.activation)
    room = work.vllm_devices * work.vllm_share * device.memory - weight * model.parameters
    at_a_time = max(1.0, min(rows, room / cache)) if work.vllm_share else rows
    read = (weight * model.parameters + at_a_time * cache) / work.vllm_devices
    overhead = OVERHEAD_OF_STEP if work.has_vllm else OVERHEAD_OF_LAYER * model.layers
    of_step = read / (SHARE_OF_BANDWIDTH * device.bandwidth) + overhead
    computed = 2 * model.parameters * sampled * answer / (SHARE_OF_OPERATIONS * device.operations)
    return max(of_step * max(work.lengths.longest, rows / at_a_time * answer), computed)


def seconds_to_train(work: Workload, model: ModelSize, device: Device) -> float:
    """Forward, again for the checkpoints, backward (2 + 2 + 4 operations a parameter and position), and log-probs (2).

    Rows that are left out of the pass with gradient have log-probs all the same.
    """
    layout, gradient = work.layout, 8 if work.has_checkpoints else 6
    operations = gradient * layout.trained_positions(work.lengths, work.prompt, work.without_gradient)
    if work.scorings:
        operations += 2 * work.scorings / work.iterations * layout.scored_positions(work.lengths, work.prompt)
    operations *= layout.rows
    operations += gradient * work.demonstrations * (work.prompt + work.lengths.mean)
    return operations * model.parameters * layout.accumulation / (SHARE_OF_OPERATIONS * device.operations)


def seconds_of_step(work: Workload, model: ModelSize, device: Device) -> float:
    """An optimizer step, with its share of the sampling."""
    steps_of_sampled = work.layout.sampled / work.layout.rows * work.iterations / work.layout.accumulation
    sampling = seconds_to_sample(work, model, device) / steps_of_sampled if work.samples else 0.0
    return sampling + seconds_to_train(work, model, device)
