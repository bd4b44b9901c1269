"""Devices that a training runs on: their memory and speed, from a data sheet or measured here."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """Memory in bytes, dense operations of the precision that is trained in, and bytes of memory, a second."""

    name: str
    memory: float
    operations: float
    bandwidth: float


GPUS = {  # bfloat16, from the makers' data sheets
    "h100": Device("H100", 80e9, 989e12, 3.35e12),
    "rtx4090": Device("RTX 4090", 24e9, 165e12, 1.01e12),
}
NO_GPU_HERE = GPUS["h100"]  # stands for the one that a training would run on
SECONDS = 0.05  # that each speed is measured for


def device_here(on_cpu: bool) -> Device:
    """The device that a training would run on, its speed measured in a moment; `NO_GPU_HERE` without one."""
    import torch

    if on_cpu:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return _measured("this machine's CPU", memory, torch.device("cpu"), torch.float32, 512)
    if not torch.cuda.is_available():
        return NO_GPU_HERE
    found = torch.cuda.get_device_properties(0)
    return _measured(found.name, found.total_memory, torch.device("cuda"), torch.bfloat16, 4096)


def _measured(name: str, memory: float, device: "torch.device", dtype: "torch.dtype", size: int) -> Device:
    import torch

    one = torch.ones(size, size, dtype=dtype, device=device)
    long = torch.ones(16 * size * size, dtype=dtype, device=device)
    multiplied = _calls_a_second(lambda: one @ one, device)
    copied = _calls_a_second(lambda: long.clone(), device)
    return Device(name, memory, multiplied * 2 * size**3, copied * 2 * long.nbytes)


def _calls_a_second(call: Callable[[], "torch.Tensor"], device: "torch.device") -> float:
    call().view(-1)[0].item()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        last = call()
        calls += 1
        if device.type != "cpu":  # calls would queue up
            last.view(-1)[0].item()
    return calls / (time.perf_counter() - start)
