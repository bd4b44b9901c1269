"""A run that is asked to stop finishes its step and saves a checkpoint.

Slurm and spot machines ask with SIGTERM, users with SIGINT.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback

from .checkpoints import WholeCheckpoints


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """
    Ends training after the step in which any of its processes is asked to end, with a checkpoint.

    The handlers of the signals are its own while it is open as a context manager. A second SIGINT is not waited for,
    unless a launcher started the process: that one sends its own beside the user's, and ends who takes too long.

    Args:
        trainer ([`PrefixGRPOTrainer`] or another of `WholeCheckpoints`): what it stops.
            The callback adds itself.

    Raises:
        RuntimeError: if it is opened in another thread than the main one, which alone is told of signals.

    Attributes:
        signal (`int`): the number of the signal that stopped training, 0 if none did.
    """

    def __init__(self, trainer: WholeCheckpoints):
        self.trainer = trainer
        self.signal = 0
        self._asked = 0
        self._process = os.getpid()
        self._before: dict[signal.Signals, Any] = {}
        trainer.add_callback(self)

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Signals reach the main thread alone: open `StopOnSignal` there, and train there.")
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked == number == signal.SIGINT, self._asked or number
        is_launched = "TORCHELASTIC_RUN_ID" in os.environ
        is_forked = os.getpid() != self._process  # workers of a data loader have the handler too
        if is_forked or (again and not is_launched):
            self.__exit__()
            signal.raise_signal(number)
        elif not again and self.trainer.accelerator.is_main_process:
            at_once = "" if is_launched or number != signal.SIGINT else " A second one stops at once."
            name = signal.Signals(number).name
            os.write(2, f"\n{name}: stopping after this step, with a checkpoint.{at_once}\n".encode())

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            return
        asked = torch.tensor([self._asked], device=self.trainer.accelerator.device)
        self.signal = self.trainer.accelerator.gather(asked).max().item()
        if self.signal:
            self.trainer.is_stopping = True
            self._stop(control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.signal:
            self._stop(control)

    def _stop(self, control: Any) -> None:
        control.should_evaluate = control.should_save = False  # the trainer saves, however it is set to save
        control.should_training_stop = True

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM, of which a checkpoint is all that is asked; 130 after SIGINT, as of a shell's command."""
        return 128 + self.signal if self.signal == signal.SIGINT else 0
