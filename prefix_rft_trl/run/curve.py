"""The learning curve of a run, a line for each measurement: `curve.jsonl` in its folder."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .folder import CURVE, read_curve


Measure = Callable[[Any], dict[str, float]]
Tokens = Callable[[dict[str, Any], int, int], tuple[float, float]]


class CurveWriter(TrainerCallback):
    """Measures before training, every so many steps and at the end, and writes down what it cost to get there.

    A line has `step`, `seconds` of training without the measuring, `generated_tokens` (sampled by the policy) and
    `trained_tokens` (in the loss, from the policy or a demonstration) so far, what `measure` returns, and what the
    trainer has logged since the line before.

    Args:
        folder (`str`): where the curve is written.
        steps (`int`): optimizer steps between two measurements.
        measure (`Callable`): from the model to the figures of a line. It runs on every process.
        tokens (`Callable`): from what was logged, the step of the log before and that of this one to the generated
            and the trained tokens in between, on all processes.
    """

    def __init__(self, folder: str, steps: int, measure: Measure, tokens: Tokens):
        self.file = Path(folder) / CURVE
        self.steps, self.measure, self.tokens = steps, measure, tokens
        self.cost: dict[str, Any] = {"step": 0, "seconds": 0.0, "generated_tokens": 0.0, "trained_tokens": 0.0}
        self.started = 0.0

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        lines = [line for line in read_curve(self.file.parent) if line["step"] <= state.global_step]
        if state.global_step and lines:  # a run that is resumed
            self.cost = {name: lines[-1][name] for name in self.cost}
            if state.is_world_process_zero:
                self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            self.cost["step"] = state.global_step
            self._write(self.measure(model), state, mode="w")
        self.started = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= self._is_due(state)

    def on_log(self, args, state, control, model=None, logs=None, **kwargs):
        if "loss" not in logs:  # the summary of a run that has ended
            return
        generated, trained = self.tokens(logs, self.cost["step"], state.global_step)
        self.cost = {
            "step": state.global_step,
            "seconds": self.cost["seconds"] + time.perf_counter() - self.started,
            "generated_tokens": self.cost["generated_tokens"] + generated,
            "trained_tokens": self.cost["trained_tokens"] + trained,
        }
        if "reward" in logs:  # plain GRPO samples all tokens of which it logs the entropy
            logs = {"policy_entropy": logs["entropy"], **logs}
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


def grpo_tokens(args: Any) -> Tokens:
    """Tokens from what a (Prefix)GRPO trainer logs: means over all rollouts since the log before."""
    steps_accumulated = args.gradient_accumulation_steps
    steps_of_batch = args.steps_per_generation * args.num_iterations
    trained_rollouts = args.per_device_train_batch_size * args.world_size * steps_accumulated
    means: dict[str, float] = {}  # of a generation batch that is trained on for several steps, from its first log

    def generation_batches(steps: int) -> int:
        return math.ceil(steps * steps_accumulated / steps_of_batch)

    def between(logs: dict[str, Any], first: int, last: int) -> tuple[float, float]:
        names = ("completions/mean_length", "prefix/tokens", "prefix/trained_tokens")
        means.update({name: logs[name] for name in names if logs.get(name) is not None})
        sampled = means["completions/mean_length"] - means.get("prefix/tokens", 0.0)
        trained = sampled + means.get("prefix/trained_tokens", 0.0)
        rollouts = args.generation_batch_size * (generation_batches(last) - generation_batches(first))
        return sampled * rollouts, trained * trained_rollouts * (last - first)

    return between


def sft_tokens() -> Tokens:
    """Tokens from what an SFT trainer logs that counts them (`prefix_rft_trl.sft`): none are generated."""
    counted = 0.0

    def between(logs: dict[str, Any], first: int, last: int) -> tuple[float, float]:
        nonlocal counted
        before, counted = counted, logs["trained_tokens"]
        return 0.0, counted - before

    return between
