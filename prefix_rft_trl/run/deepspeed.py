"""Refuses the DeepSpeed set-ups that silently train on a part of each batch."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.version import Version


FIRST_WITHOUT = "0.19.0"


def refuse_dropped_micro_batches(config: Any, gradient_accumulation_steps: int, deepspeed_version: str) -> None:
    """Refuses ZeRO-1 and -2 with the optimizer off the GPU, under gradient accumulation, before DeepSpeed 0.19.0.

    Those versions do not add up the gradients of the micro-batches of a step in the host's memory: most of them are
    lost, without any error (arXiv 2604.23747; mended in DeepSpeed's pull requests 7967 and 7981).

    Args:
        config (`dict`, `str`, `Path` or plugin): DeepSpeed's configuration, the JSON file that holds it, or
            accelerate's `DeepSpeedPlugin`.
        gradient_accumulation_steps (`int`): micro-batches of a step, on each process.
        deepspeed_version (`str`): of the DeepSpeed that is installed.

    Raises:
        ValueError: saying what was found and what to do.
    """
    zero = _as_mapping(config).get("zero_optimization") or {}
    stage, device = zero.get("stage", 0), _optimizer_device(zero)
    if stage not in (1, 2) or device == "none" or gradient_accumulation_steps == 1:
        return
    if Version(deepspeed_version) >= Version(FIRST_WITHOUT):
        return
    raise ValueError(
        f"DeepSpeed {deepspeed_version} loses micro-batches: with ZeRO-{stage}, the optimizer offloaded to '{device}' "
        f"and `gradient_accumulation_steps={gradient_accumulation_steps}` it trains on a part of each batch and says "
        f"nothing (arXiv 2604.23747). Install deepspeed>={FIRST_WITHOUT}, or set `gradient_accumulation_steps=1`, or "
        "leave `offload_optimizer` out, or take ZeRO-3 with offload, which is not affected."
    )


def refuse_dropped_micro_batches_of(args: Any) -> None:
    """The same for the `TrainingArguments` of a run, whether accelerate or `args.deepspeed` configures DeepSpeed."""
    plugin = getattr(args, "deepspeed_plugin", None)
    if plugin is None:
        return
    try:
        installed = version("deepspeed")
    except PackageNotFoundError:  # said by whoever needs it
        return
    refuse_dropped_micro_batches(plugin, args.gradient_accumulation_steps, installed)


def _as_mapping(config: Any) -> Mapping[str, Any]:
    if isinstance(config, (str, Path)):
        return json.loads(Path(config).read_text())
    return config if isinstance(config, Mapping) else config.deepspeed_config


def _optimizer_device(zero: Mapping[str, Any]) -> str:
    if zero.get("cpu_offload"):  # the name of the setting until DeepSpeed 0.4
        return "cpu"
    offload = zero.get("offload_optimizer") or {}
    return str(offload.get("device", "none") if isinstance(offload, Mapping) else offload).lower()
