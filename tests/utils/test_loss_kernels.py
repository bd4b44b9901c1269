from types import SimpleNamespace

import pytest
import torch

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils import loss_kernels


ON_CPU, ON_GPU = {"use_cpu": True, "bf16": False}, {"use_cpu": False}


@pytest.fixture
def install(monkeypatch):
    """Pretends that a TRL is installed on a machine with a GPU or without, and that Triton interprets kernels."""

    def pretend(version: str, has_gpu: bool = True, interprets: bool = False) -> None:
        monkeypatch.setattr(loss_kernels.trl, "__version__", version)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: has_gpu)
        monkeypatch.setenv("TRITON_INTERPRET", "1" if interprets else "0")

    return pretend


@pytest.mark.parametrize("config_class", [PrefixGRPOConfig, DemonstrationSFTConfig])
def test_cpu_is_refused_where_the_loss_needs_triton(config_class, install):
    install("1.15.0")
    with pytest.raises(ValueError, match=r"TRL 1\.15\.0 computes .* on the CPU\. Install `trl>=1\.16`"):
        config_class("runs", **ON_CPU)


@pytest.mark.parametrize("version", ["1.15.0", "1.15.2", "1.15.0.dev0"])
def test_machine_without_a_gpu_counts_as_cpu(version, install):
    install(version, has_gpu=False)
    with pytest.raises(ValueError, match="need a GPU"):
        loss_kernels.refuse_cpu_without_kernels(SimpleNamespace(**ON_GPU))


@pytest.mark.parametrize(
    ("given", "args"),
    [
        ({"version": "1.16.0", "has_gpu": False}, ON_CPU),
        ({"version": "1.17.0.dev0", "has_gpu": False}, ON_CPU),
        ({"version": "1.15.0"}, ON_GPU),
        ({"version": "1.15.0", "has_gpu": False, "interprets": True}, ON_CPU),
    ],
)
def test_all_else_is_accepted(given, args, install):
    install(**given)
    loss_kernels.refuse_cpu_without_kernels(SimpleNamespace(**args))
