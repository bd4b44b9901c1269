"""The life of a run: checkpoints, resuming, stopping, its folder and its learning curve."""

from typing import TYPE_CHECKING

from prefix_rft_trl.utils.lazy import lazy_front


__all__ = [
    "AtomicCheckpoints",
    "CurveWriter",
    "StopOnSignal",
    "SuccessHistory",
    "is_finished",
    "last_checkpoint",
    "read_curve",
]

if TYPE_CHECKING:
    from .checkpoints import AtomicCheckpoints
    from .curve import CurveWriter
    from .folder import is_finished, last_checkpoint, read_curve
    from .stopping import StopOnSignal
    from .success_history import SuccessHistory

__getattr__, __dir__ = lazy_front(
    __name__,
    {
        "AtomicCheckpoints": ".checkpoints",
        "CurveWriter": ".curve",
        "StopOnSignal": ".stopping",
        "SuccessHistory": ".success_history",
        "is_finished": ".folder",
        "last_checkpoint": ".folder",
        "read_curve": ".folder",
    },
)
