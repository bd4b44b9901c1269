"""Refuse DeepSpeed releases that silently train on a part of each batch."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.version import Version


MINIMUM_DEEPSPEED = "0.19"  # as in pyproject.toml


def refuse_old_deepspeed(args: Any) -> None:
    """Refuses `TrainingArguments` that use a DeepSpeed which can lose micro-batches (https://arxiv.org/abs/2604.23747).

    Raises:
        ValueError: for an installed version below `MINIMUM_DEEPSPEED`.
    """
    if getattr(args, "deepspeed_plugin", None) is None:
        return
    with suppress(PackageNotFoundError):  # reported when it is imported
        if Version(version("deepspeed")) < Version(MINIMUM_DEEPSPEED):
            raise ValueError(
                f"DeepSpeed {version('deepspeed')} can silently lose micro-batches: install "
                f"deepspeed>={MINIMUM_DEEPSPEED}."
            )
