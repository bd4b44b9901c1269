"""Prefix-RFT on TRL: supervised and reinforcement fine-tuning in one stage (arXiv 2507.01679)."""

from typing import TYPE_CHECKING

from .utils.lazy import lazy_front


__version__ = "0.6.0"
__all__ = ["PrefixGRPOConfig", "PrefixGRPOTrainer"]

if TYPE_CHECKING:
    from .config import PrefixGRPOConfig
    from .trainer import PrefixGRPOTrainer

__getattr__, __dir__ = lazy_front(__name__, {"PrefixGRPOConfig": ".config", "PrefixGRPOTrainer": ".trainer"})
