"""Try what a run makes of some settings only while it trains, so that a fault is found before."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from .setting_types import check_known


def try_settings(values: Mapping[str, Any]) -> None:
    """Make the scheduler, and the objects of those settings that are mappings, and throw them away.

    Raises:
        ValueError: naming the setting that nothing can be made of, and why.
    """
    for name, make in TRIALS.items():
        if values.get(name):
            try:
                make(values)
            except (TypeError, ValueError) as error:
                reason = str(error).rstrip(".").replace(".__init__()", "")
                raise ValueError(f"`{name}` {values[name]!r:.80} cannot be used: {reason}.") from error
    for name, known in KNOWN_NAMES.items():
        if values.get(name):
            for found in _items(values[name]):
                check_known(name, found, known(values))


def _items(value: Any) -> list[str]:
    value = _read(value)
    return [value] if isinstance(value, str) else list(value)


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("{") else value


def _make_scheduler(values: Mapping[str, Any]) -> None:
    import torch
    from transformers import get_scheduler

    name = values["lr_scheduler_type"]
    further = dict(_read(values.get("lr_scheduler_kwargs")) or {})
    if name not in ("reduce_lr_on_plateau", "greedy"):  # these are made of an evaluation
        rate = values.get("learning_rate")
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate if isinstance(rate, float) else 1.0)
        try:
            get_scheduler(name, optimizer, num_warmup_steps=0, num_training_steps=1, scheduler_specific_kwargs=further)
        except (TypeError, ValueError) as error:
            with_these = f" with `lr_scheduler_kwargs` {further!r:.80}" if further else ""
            raise ValueError(f"{error}{with_these}") from error


def _make_accelerator_config(values: Mapping[str, Any]) -> None:
    from transformers.trainer_pt_utils import AcceleratorConfig

    given = _read(values["accelerator_config"])
    if isinstance(given, Mapping):
        AcceleratorConfig(**given)


def _make_batching_config(values: Mapping[str, Any]) -> None:
    from transformers import ContinuousBatchingConfig

    given = _read(values["transformers_continuous_batching_config"])
    if isinstance(given, Mapping):
        ContinuousBatchingConfig(**given)


def _read_optim_args(values: Mapping[str, Any]) -> None:
    if not all(pair.count("=") == 1 for pair in values["optim_args"].split(",")):
        raise ValueError("it takes the form `name=value,name=value`")


def _read_multiple(values: Mapping[str, Any]) -> None:
    if values["pad_to_multiple_of"] not in ("auto", "none", "null"):
        int(values["pad_to_multiple_of"])


def _integrations(values: Mapping[str, Any]) -> list[str]:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    return ["none", "all", *INTEGRATION_TO_CALLBACK]


def _generation_settings(values: Mapping[str, Any]) -> list[str]:
    from transformers import GenerationConfig

    if values.get("use_vllm"):  # which has names of its own, and refuses others
        return _items(values["generation_kwargs"])
    return [name for name in vars(GenerationConfig()) if not name.startswith("_")]


def _compile_modes(values: Mapping[str, Any]) -> list[str]:
    from torch import _inductor

    return list(_inductor.list_mode_options())


def _compile_backends(values: Mapping[str, Any]) -> list[str]:
    from accelerate.utils import DynamoBackend

    return [backend.value.lower() for backend in DynamoBackend if backend.value != "NO"]


def _caches(values: Mapping[str, Any]) -> list[str]:
    from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

    return [*ALL_CACHE_IMPLEMENTATIONS, "paged"]


TRIALS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "lr_scheduler_type": _make_scheduler,
    "accelerator_config": _make_accelerator_config,
    "transformers_continuous_batching_config": _make_batching_config,
    "optim_args": _read_optim_args,
    "pad_to_multiple_of": _read_multiple,
}
KNOWN_NAMES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "report_to": _integrations,
    "generation_kwargs": _generation_settings,
    "cache_implementation": _caches,
    "torch_compile_backend": _compile_backends,
    "torch_compile_mode": _compile_modes,
}
