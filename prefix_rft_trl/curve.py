"""The learning curve of a run, a line for each measurement: `curve.jsonl` in its folder."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .run_folder import CURVE, read_curve


Measure = Callable[[Any], dict[str, float]]


class CurveWriter(TrainerCallback):
    """Measures before training, every so many steps and at the end, and writes down what it cost to get there.

    A line has `step`, `seconds` of training without the measuring, `generated_tokens` (sampled by the policy) and
    `trained_tokens` (in the loss, from the policy or a demonstration) so far, what `measure` returns, and what the
    trainer has logged since the line before.

    Args:
        folder (`str`): where the curve is written.
        steps (`int`): optimizer steps between two measurements.
        measure (`Callable`): from the model to the figures of a line. It runs on every process.
        tokens_per_step (`Callable`): from what was logged to the generated and the trained tokens of a step.
    """

    def __init__(
        self, folder: str, steps: int, measure: Measure, tokens_per_step: Callable[[Any], tuple[float, float]]
    ):
        self.file = Path(folder) / CURVE
        self.steps, self.measure, self.tokens_per_step = steps, measure, tokens_per_step
        self.cost = {"step": 0, "seconds": 0.0, "generated_tokens": 0.0, "trained_tokens": 0.0}
        self.started = 0.0

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        lines = [line for line in read_curve(self.file.parent) if line["step"] <= state.global_step]
        if state.global_step and lines:  # a run that is resumed
            self.cost = {name: lines[-1][name] for name in self.cost}
            if state.is_world_process_zero:
                self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            self._write(self.measure(model), state, mode="w")
        self.started = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= self._is_due(state)

    def on_log(self, args, state, control, model=None, logs=None, **kwargs):
        if "loss" not in logs:  # the summary of a run that has ended
            return
        generated, trained = self.tokens_per_step(logs)
        steps = state.global_step - self.cost["step"]
        self.cost = {
            "step": state.global_step,
            "seconds": self.cost["seconds"] + time.perf_counter() - self.started,
            "generated_tokens": self.cost["generated_tokens"] + steps * generated,
            "trained_tokens": self.cost["trained_tokens"] + steps * trained,
        }
        if self._is_due(state):
            self._write({**logs, **self.measure(model)}, state)
        self.started = time.perf_counter()

    def _is_due(self, state: Any) -> bool:
        return state.global_step % self.steps == 0 or state.global_step >= state.max_steps

    def _write(self, figures: dict[str, Any], state: Any, mode: str = "a") -> None:
        if state.is_world_process_zero:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open(mode) as file:
                file.write(json.dumps({**figures, **self.cost}) + "\n")


def rollouts_per_step(args: Any) -> float:
    """Rollouts that a GRPO trainer samples for an optimizer step, over all processes."""
    return args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps / args.num_iterations


def grpo_tokens_per_step(args: Any) -> Callable[[dict[str, Any]], tuple[float, float]]:
    """Generated and trained tokens of a step, from what a (Prefix)GRPO trainer logs: means over all its rollouts."""

    def of_logs(logs: dict[str, Any]) -> tuple[float, float]:
        generated = logs["completions/mean_length"] - logs.get("prefix/tokens", 0.0)
        trained = generated + logs.get("prefix/trained_tokens", 0.0)
        return generated * rollouts_per_step(args), trained * rollouts_per_step(args)

    return of_logs


def sft_tokens_per_step(args: Any, labels: list[list[int]]) -> Callable[[dict[str, Any]], tuple[float, float]]:
    """No generated tokens, and as many trained ones as the rows have on average, for an SFT trainer."""
    trained = sum(label != -100 for row in labels for label in row) / len(labels)
    rows = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    return lambda logs: (0.0, trained * rows)
