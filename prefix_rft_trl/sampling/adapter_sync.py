"""Weight syncs that send base plus adapter to vLLM, and leave the base as it is.

TRL merges the adapter into the base in place, sends the weights, and subtracts the adapter again. In bfloat16 that
does not give back the base: it drifts with every sync, while the adapter is saved for the original base. And the
client of a vLLM server packs tensors and sends the last gigabyte after the subtraction, without the adapter. Here the
model is never merged: each parameter is merged in a copy of its layer when TRL reads it.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from accelerate.utils import is_peft_model
from torch import nn

from prefix_rft_trl.utils.patching import replaced


def keep_base_weights(vllm_generation: Any) -> None:
    """Makes `vllm_generation.sync_weights` leave the base of an adapter as it is, bit for bit.

    A colocated engine gets what TRL's first sync would give it, bit for bit, and the same in every later one.

    Args:
        vllm_generation ([`~trl.generation.vllm_generation.VLLMGeneration`], *optional*): of the trainer. Nothing
            changes without an adapter, or under FSDP1, for which TRL has no names of merged weights.
    """
    if vllm_generation is None or not is_peft_model(vllm_generation.model) or vllm_generation._dist.fsdp_version == 1:
        return
    sync_weights = vllm_generation.sync_weights

    def sync_merged_copies() -> None:
        with merged_as_read(vllm_generation.model):
            sync_weights()

    vllm_generation.sync_weights = sync_merged_copies


@contextmanager
def merged_as_read(model: Any) -> Iterator[None]:
    """Within the block `model.merge_adapter` changes no weight: `named_parameters` and `state_dict` give
    merged copies, until `unmerge_adapter`.

    Args:
        model ([`~peft.PeftModel`]): under ZeRO-3 its parameters are gathered when they are read.
    """
    merge_adapter = model.merge_adapter
    with ExitStack() as reading:

        def merge_copies() -> None:
            merge_adapter(adapter_names=[])  # raises what it would raise, and merges none
            read = partial(read_merged, model, model.named_parameters)
            reading.enter_context(replaced(model, "named_parameters", read))
            # Which TRL 1.15 asks for under FSDP2, and 1.16 no longer does
            reading.enter_context(replaced(model, "state_dict", lambda: SimpleNamespace(items=read)))

        with replaced(model, "merge_adapter", merge_copies), replaced(model, "unmerge_adapter", reading.close):
            yield


def read_merged(
    model: nn.Module, named_parameters: Callable[..., Iterator[tuple[str, nn.Parameter]]], *args: Any, **kwargs: Any
) -> Iterator[tuple[str, nn.Parameter]]:
    """The named parameters of a model, those that an adapter changes as merged copies, which nothing overwrites."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = defaultdict(list)
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            for param in layer.get_base_layer().parameters():
                layers[param].append(layer)
    for name, param in list(named_parameters(*args, **kwargs)):
        yield name, merge_into_copies(layers[param]).get(param, param)


@torch.no_grad()
def merge_into_copies(layers: list[Any]) -> dict[nn.Parameter, nn.Parameter]:
    """Merges the active adapters of layers that share a parameter.

    Args:
        layers (`list[BaseTunerLayer]`): in the order of their model; they are left as they are.

    Returns:
        `dict`: the merged copy of each parameter of their base layers.
    """
    modules = dict.fromkeys(module for layer in layers for module in (layer, *layer.get_base_layer().modules()))
    before = {module: dict(vars(module)) for module in modules}
    copies = {param: copy.deepcopy(param) for module in modules for param in module._parameters.values()}
    try:
        for module in modules:
            containers = {name: value for name, value in vars(module).items() if isinstance(value, dict | list)}
            vars(module).update({name: copy.copy(value) for name, value in containers.items()})
            module._parameters = {name: copies[param] for name, param in module._parameters.items()}
        for layer in layers:
            layer.merge()
        return {
            param: module._parameters[name]
            for module in modules
            for name, param in before[module]["_parameters"].items()
            if param is not None
        }
    finally:
        for module, state in before.items():
            vars(module).clear()
            vars(module).update(state)
