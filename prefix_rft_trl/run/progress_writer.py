"""Write the progress of a run, with the time that it will still take, into its folder."""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .progress import PROGRESS, RunProgress


SECONDS_BETWEEN_WRITES = 1.0


class Pace:
    """
    Mean seconds of a training's steps and of its measurements, from which the rest is estimated.

    Measurements are counted apart, or the first one would make the estimate many times too long, and each further one
    would raise it. So would a first step that loads or compiles something: it counts only until there is a second.

    Args:
        measure_steps (`int`): steps between two measurements; 0 for none.
    """

    def __init__(self, measure_steps: int):
        self.measure_steps = measure_steps
        self.steps: list[float] = []
        self.measurements: list[float] = []

    def is_measured(self, step: int, last: int) -> bool:
        return self.measure_steps > 0 and (step % self.measure_steps == 0 or step == last)

    def seconds_left(self, step: int, last: int) -> float | None:
        """Seconds from the end of a step, before it is measured, to the end of training; `None` before the first."""
        if not self.steps:
            return None
        every = self.measure_steps
        measured = last // every - (step - 1) // every + (last % every > 0) if every else 0
        return (last - step) * _mean(self.steps[1:] or self.steps) + measured * _mean(self.measurements)


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


class ProgressWriter(TrainerCallback):
    """
    Writes [`RunProgress`] into the folder of a run, at most once a second, and removes it when training ends.

    Args:
        folder (`str`): of the run.
        measure_steps (`int`): steps between two measurements of held-out accuracy; 0 for none.
    """

    def __init__(self, folder: str, measure_steps: int):
        self.folder, self.pace = Path(folder), Pace(measure_steps)
        self._timed_until = self._written = 0.0
        self._is_first_step = True

    def on_train_begin(self, args, state, control, **kwargs):
        self._timed_until, self._is_first_step = time.perf_counter(), True
        self._write(state, is_measuring=self.pace.measure_steps > 0 and state.global_step == 0)

    def on_step_begin(self, args, state, control, **kwargs):
        seconds, is_resumed = self._lap(), self._is_first_step and state.global_step > 0
        if self._is_first_step:
            self._write(state)
        self._is_first_step = False
        if is_resumed:
            return  # what was measured at that step is in the curve already
        if self.pace.is_measured(state.global_step, state.max_steps):
            self.pace.measurements.append(seconds)
        elif self.pace.steps:
            self.pace.steps[-1] += seconds  # to log and to save

    def on_step_end(self, args, state, control, **kwargs):
        self.pace.steps.append(self._lap())
        if self._timed_until - self._written >= SECONDS_BETWEEN_WRITES or state.global_step >= state.max_steps:
            self._write(state)

    def on_train_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            (self.folder / PROGRESS).unlink(missing_ok=True)

    def _lap(self) -> float:
        before, self._timed_until = self._timed_until, time.perf_counter()
        return self._timed_until - before

    def _write(self, state: Any, is_measuring: bool = False) -> None:
        self._written = self._timed_until
        if state.is_world_process_zero:
            left = self.pace.seconds_left(state.global_step, state.max_steps)
            RunProgress(state.global_step, state.max_steps, left, time.time(), is_measuring).write(self.folder)
