"""The learning curve of a run: one line per measurement in `curve.jsonl`, in the folder of the run."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from prefix_rft_trl.utils.files import named_in_errors, write_atomically

from .folder import CURVE, read_curve


Measure = Callable[[Any], dict[str, Any]]
TokenCounter = Callable[[dict[str, Any], dict[str, Any], int], tuple[float, float]]
Log = Callable[[dict[str, float]], None]


class CurveWriter(TrainerCallback):
    """
    Measures the model before training, every `steps` steps and at the end, and records the cost so far.

    A line has `step`, `seconds` of training without the measuring, `generated_tokens` (sampled by the policy) and
    `trained_tokens` (in the loss, from the policy or a demonstration) so far, the values of `measure`, and what the
    trainer logged since the line before. The numbers of `measure` are also logged, as `eval_accuracy` and so on.

    Args:
        folder (`str`): folder in which the curve is written.
        steps (`int`): optimizer steps between two measurements.
        measure (`Callable`): from the model to the values of a line. It runs on every process.
        tokens (`Callable`): from the latest logged values, the cost at the previous log and the step of this one to
            the tokens generated and trained so far, over all processes.
        log (`Callable`): takes what was measured, for trackers and the state of the trainer. It runs on every process.
    """

    def __init__(self, folder: str, steps: int, measure: Measure, tokens: TokenCounter, log: Log):
        self.file = Path(folder) / CURVE
        self.steps, self.measure, self.tokens, self.log = steps, measure, tokens, log
        self.cost: dict[str, Any] = {"step": 0, "seconds": 0.0, "generated_tokens": 0.0, "trained_tokens": 0.0}
        self.started = 0.0
        self._resumed_cost: dict[str, Any] | None = None
        self._logged: dict[str, Any] = {}

    def cost_so_far(self) -> dict[str, Any]:
        """The cost at the last log, with the seconds of training up to now."""
        return {**self.cost, "seconds": self.cost["seconds"] + time.perf_counter() - self.started}

    def resume_at(self, cost: dict[str, Any]) -> None:
        """Lets the next training go on from the cost of the checkpoint that it resumes."""
        self._resumed_cost = cost

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        for logs in state.log_history:
            self._remember(logs)
        is_resumed = state.global_step > 0
        lines = [line for line in read_curve(self.file.parent) if line["step"] <= state.global_step and is_resumed]
        if self._resumed_cost is not None:
            self.cost, self._resumed_cost = self._resumed_cost, None
        elif lines:  # resumed from a checkpoint of 0.6.0
            self.cost = {name: lines[-1][name] for name in self.cost}
        else:
            self.cost["step"] = state.global_step
        if state.is_world_process_zero:
            write_atomically(self.file, "".join(json.dumps(line) + "\n" for line in lines))
        if not lines or (self._is_due(state) and lines[-1]["step"] < state.global_step):
            logged = [logs for logs in state.log_history if logs["step"] == state.global_step and "loss" in logs]
            self._write_line(logged[-1] if logged else {}, model, state)
        self.started = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= self._is_due(state)

    def on_log(self, args, state, control, model=None, logs=None, **kwargs):
        if "loss" not in logs:  # what was measured, and the summary of a finished run
            return
        self._remember(logs)
        generated, trained = self.tokens(self._logged, self.cost, state.global_step)
        self.cost = {
            **self.cost_so_far(),
            "step": state.global_step,
            "generated_tokens": generated,
            "trained_tokens": trained,
        }
        if self._is_due(state):
            self._write_line(logs, model, state)
        self.started = time.perf_counter()

    def replace_last(self, model: Any, state: Any, values: dict[str, Any]) -> None:
        """Adds values to the last line, which another model than the last can be measured for.

        Accuracy, length and `demonstration_logp` are then of that model. The cost stays, and so do the loss, the
        entropy and what else the trainer logged: they are of the last step.

        Args:
            model (`nn.Module`, *optional*): the model, if it is another.
            state (`TrainerState`): of the trainer.
            values (`dict`): further values of the line.
        """
        measured = {} if model is None else self.measure(model)
        if state.is_world_process_zero and (lines := read_curve(self.file.parent)):
            lines[-1] |= _without_nan({**measured, **values})
            write_atomically(self.file, "".join(json.dumps(line) + "\n" for line in lines))
        if measured:
            self._log_measured(measured)

    def _is_due(self, state: Any) -> bool:
        return state.global_step % self.steps == 0 or state.global_step >= state.max_steps

    def _remember(self, logs: dict[str, Any]) -> None:
        # A generation batch logs its lengths once, also if it is trained on for several logs or resumed in between
        self._logged |= {name: value for name, value in logs.items() if value is not None}

    def _write_line(self, logs: dict[str, Any], model: Any, state: Any) -> None:
        measured = self.measure(model)
        line = {**self._with_policy_entropy(logs), **measured, **self.cost, "step": state.global_step}
        if state.is_world_process_zero:
            with named_in_errors(self.file), self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_without_nan(line)) + "\n")
        self._log_measured(measured)

    def _log_measured(self, measured: dict[str, Any]) -> None:
        # By this prefix trackers tell it from the figures of training
        self.log({f"eval_{name}": value for name, value in measured.items() if not isinstance(value, list)})

    def _with_policy_entropy(self, logs: dict[str, Any]) -> dict[str, Any]:
        """The values of a log, of rollouts with `policy_entropy`: `None` where no sampled token was trained."""
        if "reward" not in self._logged:
            return logs
        has_prefixes = any(name.startswith("prefix/") for name in self._logged)
        # Plain GRPO samples all of the tokens whose entropy it logs
        return {"policy_entropy": None if has_prefixes else logs.get("entropy"), **logs}


def _without_nan(line: dict[str, Any]) -> dict[str, Any]:
    """The values of a line, with `None` for those that JSON cannot hold: they are unknown."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()
    }


def grpo_tokens(args: Any) -> TokenCounter:
    """Counts tokens by what a (Prefix)GRPO trainer logs: means over all rollouts since the log before."""
    micro_steps = args.gradient_accumulation_steps
    micro_steps_per_batch = args.steps_per_generation * args.num_iterations
    rollouts_per_step = args.per_device_train_batch_size * args.world_size * micro_steps

    def generation_batches(steps: int) -> int:
        return math.ceil(steps * micro_steps / micro_steps_per_batch)

    def count(logs: dict[str, Any], before: dict[str, Any], step: int) -> tuple[float, float]:
        sampled = logs["completions/mean_length"] - logs.get("prefix/tokens", 0.0)
        trained = sampled - logs.get("prefix/gate_left_tokens", 0.0) + logs.get("prefix/trained_tokens", 0.0)
        batches = generation_batches(step) - generation_batches(before["step"])
        # Stages decode more than what is trained on
        decoded = logs.get("sampling/decoded_tokens", sampled * args.generation_batch_size)
        return (
            before["generated_tokens"] + decoded * batches,
            before["trained_tokens"] + trained * rollouts_per_step * (step - before["step"]),
        )

    return count


def sft_tokens() -> TokenCounter:
    """Counts tokens by what [`~prefix_rft_trl.sft.CountingSFTTrainer`] logs; none are generated."""
    return lambda logs, before, step: (0.0, logs["trained_tokens"])
