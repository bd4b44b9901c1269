"""Refuse the CPU where TRL computes its losses in Triton kernels alone."""

import os
from typing import Any

import torch
import trl
from packaging.version import Version


FIRST_WITHOUT_TRITON = "1.16"
INTERPRETER = "TRITON_INTERPRET"  # with which Triton's kernels run on the CPU, slowly


def refuse_cpu_without_kernels(args: Any) -> None:
    """Refuses `TrainingArguments` that train on the CPU with a TRL whose losses need Triton.

    Raises:
        ValueError: for TRL below 1.16, unless Triton interprets its kernels.
    """
    is_for_cpu = args.use_cpu or not torch.accelerator.is_available()
    if is_for_cpu and Version(trl.__version__) < Version(FIRST_WITHOUT_TRITON) and os.getenv(INTERPRETER) != "1":
        raise ValueError(
            f"TRL {trl.__version__} computes its losses in Triton kernels, which need a GPU, and this run is on the "
            f"CPU. Install `trl>={FIRST_WITHOUT_TRITON}`, or train on a GPU."
        )
