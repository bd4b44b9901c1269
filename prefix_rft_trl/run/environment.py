"""What a run trained with: versions of packages, hardware and date, a line for each start in its folder."""

import json
import os
import platform
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from prefix_rft_trl import __version__

from .folder import ENVIRONMENT


PACKAGES = ("trl", "transformers", "torch")
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class RunEnvironment:
    """
    What a run, or a part of it between two resumes, trained with.

    Attributes:
        started (`str`): date and time in UTC, such as `2026-01-31 12:00`.
        versions (`dict[str, str]`): of this package, Python and those that train, by name.
        processor (`str`): model of the CPU.
        cores (`int`): of the CPU that the process could use.
        threads (`int`): of a process.
        accelerator (`str`): model of the GPU, or another device; empty on the CPU.
        processes (`int`): that trained, with an accelerator each.
    """

    started: str
    versions: dict[str, str]
    processor: str
    cores: int
    threads: int
    accelerator: str
    processes: int

    @classmethod
    def current(cls, args: Any) -> "RunEnvironment":
        """That of this process, which trains with these `TrainingArguments`."""
        names = (*PACKAGES, *(["vllm"] if getattr(args, "use_vllm", False) else []))
        found = {"prefix_rft_trl": __version__, "python": platform.python_version()}
        for name in names:
            with suppress(PackageNotFoundError):  # vLLM's server can run elsewhere
                found[name] = version(name)
        return cls(
            started=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
            versions=found,
            processor=_processor(),
            cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
            threads=torch.get_num_threads(),
            accelerator=_accelerator(args.device),
            processes=args.world_size,
        )

    def append_to(self, folder: str | Path) -> None:
        """Adds a line for it to the file in the folder of the run."""
        with (Path(folder) / ENVIRONMENT).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def _processor() -> str:
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _accelerator(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "" if device.type == "cpu" else device.type
