"""A run that is asked to stop finishes its step and saves a checkpoint.

Slurm and spot machines ask with SIGTERM, users with SIGINT.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerCallback


SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """
    Ends training after the step in which any of its processes is asked to end, with a checkpoint.

    The handlers of the signals are its own while it is open as a context manager. A second signal is not waited for,
    unless a launcher started the process: that one sends its own beside the user's, and ends who takes too long.

    Args:
        accelerator ([`~accelerate.Accelerator`]): of the trainer.

    Attributes:
        signal (`int`): the number of the signal that stopped training, 0 if none did.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.signal = 0
        self._asked = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopOnSignal":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self._asked = bool(self._asked), number
        if again and "TORCHELASTIC_RUN_ID" not in os.environ:
            self.__exit__()
            signal.raise_signal(number)
        if not again and self.accelerator.is_main_process:
            name = signal.Signals(number).name
            sys.stderr.write(f"\n{name}: stopping after this step, with a checkpoint. A second one stops at once.\n")

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            return
        asked = torch.tensor([self._asked], device=self.accelerator.device)
        self.signal = self.accelerator.gather(asked).max().item()
        if self.signal:
            control.should_save = control.should_training_stop = True

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM, of which a checkpoint is all that is asked; 130 after SIGINT, as of a shell's command."""
        return 128 + self.signal if self.signal == signal.SIGINT else 0
