"""Stopping a run on a signal, after its step and with a checkpoint.

Slurm and spot machines send SIGTERM, users SIGINT, and a terminal that is closed SIGHUP.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from prefix_rft_trl.utils.processes import leave_closed_terminal, without_ignored_hangup

from .checkpoints import AtomicCheckpoints


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopOnSignal(TrainerCallback):
    """
    Ends training, with a checkpoint, after the step in which any of its processes gets SIGTERM, SIGINT or SIGHUP.

    It handles the signals while it is open as a context manager, except SIGHUP under `nohup`. A second SIGINT ends the
    process at once, unless a launcher started it: the launcher sends a SIGINT of its own after the user's, and kills
    processes that take too long.

    Args:
        trainer ([`PrefixGRPOTrainer`] or another `AtomicCheckpoints`): the trainer, to which the callback adds itself.

    Raises:
        RuntimeError: if it is opened outside the main thread, the only one that receives signals.

    Attributes:
        signal (`int`): number of the signal that stopped training, 0 if none did.
    """

    def __init__(self, trainer: AtomicCheckpoints):
        self.trainer = trainer
        self.signal = 0
        self._received = 0
        self._process = os.getpid()
        self._handlers_before: dict[signal.Signals, Any] = {}
        trainer.add_callback(self)

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Only the main thread receives signals: open `StopOnSignal` and train there.")
        self._handlers_before = {
            number: signal.signal(number, self._handle) for number in without_ignored_hangup(SIGNALS)
        }
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_second_interrupt = self._received == number == signal.SIGINT
        self._received = self._received or number
        is_launched = "TORCHELASTIC_RUN_ID" in os.environ
        is_forked = os.getpid() != self._process  # workers of a data loader inherit the handler
        if is_forked or (is_second_interrupt and not is_launched):
            self.__exit__()
            signal.raise_signal(number)
            return
        leave_closed_terminal()
        if not is_second_interrupt and self.trainer.accelerator.is_main_process:
            hint = "" if is_launched or number != signal.SIGINT else " A second one stops at once."
            name = signal.Signals(number).name
            os.write(2, f"\n{name}: stopping after this step, with a checkpoint.{hint}\n".encode())

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            return
        received = torch.tensor([self._received], device=self.trainer.accelerator.device)
        self.signal = self.trainer.accelerator.gather(received).max().item()
        if self.signal:
            self.trainer.is_stopping = True
            self._stop(control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.signal:
            self._stop(control)

    def _stop(self, control: Any) -> None:
        control.should_evaluate = control.should_save = False  # `AtomicCheckpoints` saves, whatever the settings say
        control.should_training_stop = True

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM and SIGHUP, which request a checkpoint; 130 after SIGINT, as shells expect."""
        return 128 + self.signal if self.signal == signal.SIGINT else 0
