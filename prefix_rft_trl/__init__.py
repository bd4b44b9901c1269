"""Prefix-RFT on TRL: supervised and reinforcement fine-tuning in one stage (arXiv 2507.01679)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any


__version__ = "0.6.0"
__all__ = ["PrefixGRPOConfig", "PrefixGRPOTrainer"]

if TYPE_CHECKING:
    from .config import PrefixGRPOConfig
    from .trainer import PrefixGRPOTrainer

_HOMES = {"PrefixGRPOConfig": ".config", "PrefixGRPOTrainer": ".trainer"}


def __getattr__(name: str) -> Any:
    # The trainer brings in torch: whoever only wants the version, the lab's data or `--help` does not wait for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
