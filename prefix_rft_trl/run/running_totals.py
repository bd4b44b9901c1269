"""Sums that continue over a resume: the losses and metrics since the last log, tokens, and the time spent.

Trainers start them anew with each process. What a resumed run logs then covers the steps since the resume alone.
"""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from .checkpoints import AtomicCheckpoints
from .curve import CurveWriter


class RunningTotals(AtomicCheckpoints):
    """Mixin for a trainer of TRL: a resumed run logs what an unbroken one logs, its summary at the end included."""

    _totals: tuple[str, ...] = (
        "_total_loss_scalar",
        "_globalstep_last_logged",
        "_initial_global_step",  # of later versions of transformers than the lowest that is allowed
    )
    _metrics: dict[str, defaultdict[str, list[float]]]
    _tr_loss: torch.Tensor
    _resumed_from: str | None = None
    _seconds_before = 0.0  # in the processes that this one resumes
    _started = 0.0

    def __init__(self, *args: Any, **named: Any):
        super().__init__(*args, **named)
        self.callback_handler.callbacks.insert(0, TotalsRestorer(self))  # before a curve that goes on from them

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._resumed_from = checkpoint

    def _save_extras(self, folder: Path) -> None:
        super()._save_extras(folder)
        totals = {
            "attributes": {name: getattr(self, name) for name in self._totals if hasattr(self, name)},
            "loss": self._tr_loss.item(),
            "metrics": {name: list(map(float, values)) for name, values in self._metrics["train"].items()},
            "is_training": self.model.training,
            "seconds": self._seconds_before + time.monotonic() - self._started,
            "costs": [curve.cost_so_far() for curve in self._curves],
        }
        _totals_file(folder, self.accelerator.process_index).write_text(json.dumps(totals), encoding="utf-8")

    def _restore_totals(self) -> None:
        """Sets what the Trainer has just set to zero."""
        totals = {} if self._resumed_from is None else read_totals(self._resumed_from, self.accelerator.process_index)
        self._resumed_from = None
        self._started, self._seconds_before = time.monotonic(), totals.get("seconds", 0.0)
        if not totals:
            return
        for name, value in totals["attributes"].items():
            setattr(self, name, value)
        self._tr_loss += totals["loss"]
        self._metrics["train"].update(totals["metrics"])
        self.model.train(totals["is_training"])  # by which TRL decides whether a log is of training
        for curve, cost in zip(self._curves, totals["costs"], strict=False):
            curve.resume_at(cost)

    @property
    def _curves(self) -> list[CurveWriter]:
        return [callback for callback in self.callback_handler.callbacks if isinstance(callback, CurveWriter)]

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        return super()._finalize_training(trial, num_train_samples, start_time - self._seconds_before)


class TotalsRestorer(TrainerCallback):
    """Restores the totals of a trainer where its training begins, before a curve goes on from them."""

    def __init__(self, trainer: RunningTotals):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer._restore_totals()


def read_totals(checkpoint: str, process: int) -> dict[str, Any]:
    """The totals of a process at a checkpoint, or of process 0 if there were fewer; empty if it has none."""
    files = [_totals_file(Path(checkpoint), number) for number in (process, 0)]
    return next((json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()), {})


def _totals_file(checkpoint: Path, process: int) -> Path:
    return checkpoint / f"running_totals_{process}.json"
