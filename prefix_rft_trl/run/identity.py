"""Identify the run that a checkpoint is of: its trainer, model, adapter, optimizer and data.

What a run may change when it is resumed, such as the learning rate or the number of steps, is no part of it.
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .folder import has_optimizer_state, readable_object


IDENTITY = "run_identity.json"
LIBRARIES = ("trl.", "transformers.")
ADAPTER_SETTINGS = ("r", "lora_alpha", "target_modules", "modules_to_save")
ROWS_READ = 64  # evenly spaced ones stand for the content of a dataset
VALUES_READ = 64  # the first ones of each tensor stand for the weights of a base model

Identity = dict[str, str]
"""The parts of a run, each in words. A part that is not known is missing, and fits any other."""


def identify_run(trainer: Any) -> Identity:
    """The run of a [`~transformers.Trainer`], before its model is wrapped for training."""
    adapters = getattr(trainer.model, "peft_config", {})
    adapter = next(iter(adapters.values()), None)
    base = trainer.model if adapter is None else trainer.model.get_base_model()
    weights = [(_name_in_base(name), weight) for name, weight in base.named_parameters() if not _is_adapter(name)]
    optimizer = trainer.args.optim if trainer.optimizer is None else type(trainer.optimizer).__name__
    return _known(
        {
            "trainer": next(kind.__name__ for kind in type(trainer).__mro__ if kind.__module__.startswith(LIBRARIES)),
            "model": type(base).__name__,
            "number of layers": getattr(base.config, "num_hidden_layers", None),
            "size of the model": describe_shapes(weights),
            "adapter": describe_adapter(adapter and adapter.to_dict()),
            "base of the adapter": adapter and describe_values(weight for _, weight in weights),
            "optimizer": _kind_of_optimizer(getattr(optimizer, "value", optimizer)),
            "dataset": describe_rows(trainer.train_dataset),
            "demonstration dataset": describe_rows(getattr(trainer, "demonstration_dataset", None)),
        }
    )


def identify_checkpoint(checkpoint: Path) -> Identity:
    """The run of a checkpoint; of one up to 0.7.0, or of another trainer, what its files show."""
    if (checkpoint / IDENTITY).is_file():
        run = _known(readable_object(checkpoint / IDENTITY))
        return run if has_optimizer_state(checkpoint) else {**run, "optimizer": ""}
    adapter, config = readable_object(checkpoint / "adapter_config.json"), readable_object(checkpoint / "config.json")
    has_weights = any(checkpoint.glob("*.safetensors"))  # sharded ones are elsewhere
    architectures = config.get("architectures") or [None]
    return _known(
        {
            "model": architectures[0],
            "number of layers": config.get("num_hidden_layers"),
            "adapter": describe_adapter(adapter) if has_weights else None,
        }
    )


def differences(theirs: Identity, ours: Identity) -> list[str]:
    """What differs between the run of a checkpoint and this one, a phrase each."""
    both = [name for name in ours if theirs.get(name)]
    return [f"the {name} was {theirs[name]}, here it is {ours[name]}" for name in both if theirs[name] != ours[name]]


def shape_differences(checkpoint: Path, model: nn.Module) -> list[str]:
    """The first tensor of a checkpoint's safetensors, by their headers, that has another shape in the model.

    Raises:
        ValueError: if a header cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    shapes = {name.replace(".default.", "."): _shape(weight) for name, weight in model.named_parameters()}
    for file in sorted(checkpoint.glob("*model*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                found = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(
                f"Cannot resume from {checkpoint}: its file {file.name} cannot be read: {error}."
            ) from None
        for name in found.keys() & shapes.keys():
            if found[name] != shapes[name]:
                return [f"the shape of {name} was {found[name]}, here it is {shapes[name]}"]
    return []


def describe_shapes(weights: Iterable[tuple[str, Any]]) -> str:
    """The number of parameters, and a hash of names and shapes."""
    shapes = {name: _shape(weight) for name, weight in weights}
    size = sum(int(np.prod(shape)) for shape in shapes.values())
    return f"{size:,} parameters in {len(shapes)} tensors (hash of the shapes {_hash(sorted(shapes.items()))})"


def describe_adapter(config: Mapping[str, Any] | None) -> str:
    """The kind of an adapter and where it is, from its configuration."""
    if not config:
        return "none"
    settings = {name: config[name] for name in ADAPTER_SETTINGS if config.get(name)}
    words = (f"{name} {_listed(value)}" for name, value in settings.items())
    return ", ".join([str(getattr(config["peft_type"], "value", config["peft_type"])), *words])


def describe_values(weights: Iterable[Any]) -> str | None:
    """A hash of some values, alike for weights loaded in float32 and bfloat16; `None` if this process lacks them."""
    parts = list(weights)
    if any(weight.is_meta or hasattr(weight, "ds_shape") for weight in parts):
        return None
    values = [weight.detach().reshape(-1)[:VALUES_READ].to("cpu", torch.bfloat16).float() for weight in parts]
    return f"a model with other weights (their hash is {_hash(torch.cat(values).tolist())})"


def describe_rows(dataset: Any) -> str | None:
    """The number of rows, the columns, and a hash of evenly spaced rows; `None` for a stream."""
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        return None
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), ROWS_READ)).round().astype(int).tolist()
    content = _hash(dataset.with_format(None)[rows])
    return f"{len(dataset):,} rows of {_listed(dataset.column_names)} (hash of some {content})"


def _known(parts: Mapping[str, Any]) -> Identity:
    return {name: str(part) for name, part in parts.items() if part}


def _kind_of_optimizer(name: str) -> str:
    """The name without what does not change the state."""
    return name.removesuffix("_fused").removeprefix("paged_")


def _is_adapter(name: str) -> bool:
    return any(part in name for part in ("lora_", ".modules_to_save."))


def _name_in_base(name: str) -> str:
    return name.replace(".base_layer.", ".").replace(".original_module.", ".")


def _shape(weight: Any) -> list[int]:
    return list(getattr(weight, "ds_shape", weight.shape))  # under ZeRO-3 no process has all of it


def _listed(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ", ".join(sorted(map(str, value)))


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=lambda other: type(other).__name__)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
