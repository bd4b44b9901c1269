"""Counts of what a training step computes and holds, which do not depend on the machine or on what else it does."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from transformers import TrainerCallback


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, **named: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    grad: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *args: Any, **named: Any
) -> int:
    return sdpa_backward_flop_count(grad, query, key, value)


def _add_product(total: torch.Size, left: torch.Size, right: torch.Size, *args: Any, **named: Any) -> int:
    return 2 * left[0] * left[1] * right[1]


LEFT_OUT_BY_TORCH = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.addmm_: _add_product,  # gradients of TRL's fused LM head
}


class OperationCounter(FlopCounterMode):
    """Floating-point operations of matrix products and attention, forward and backward. Attention counts all pairs."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=LEFT_OUT_BY_TORCH)


class PeakAllocation(TorchDispatchMode):
    """Most bytes that lived at once of those allocated for tensors within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._total = 0
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for storage in _storages((args, kwargs)):
            self._watch(storage, 0)  # made before the block, or known already
        made = func(*args, **kwargs or {})
        for storage in _storages(made):
            self._watch(storage, storage.nbytes())
        return made

    def _watch(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key in self._alive:
            return

        def release(_: Any) -> None:
            self._alive.pop(key, None)
            self._total -= size

        self._alive[key] = weakref.ref(storage, release)
        self._total += size
        self.peak = max(self.peak, self._total)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [tensor.untyped_storage() for tensor in tensors if tensor.device.type == "cpu"]


class FirstStepCounter(TrainerCallback):
    """Of the first optimizer step, generation included: its `operations`, and the peak of what it allocates, `MiB`."""

    operations = 0
    MiB = 0.0

    def on_step_begin(self, args, state, control, **named):
        if state.global_step == 0:
            self._modes = PeakAllocation(), OperationCounter()
            if args.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                self._before = torch.cuda.memory_allocated()
            for mode in self._modes:
                mode.__enter__()

    def on_step_end(self, args, state, control, **named):
        if state.global_step == 1:
            for mode in reversed(self._modes):
                mode.__exit__(None, None, None)
            allocation, operations = self._modes
            on_gpu = args.device.type == "cuda"
            peak = torch.cuda.max_memory_allocated() - self._before if on_gpu else allocation.peak
            self.operations, self.MiB = operations.get_total_flops(), peak / 2**20
