"""Hand on the earliest model whose validation loss is close to the smallest, instead of the last one.

The losses are those of the trainer's own evaluations. They are in its log history, and so in every checkpoint: what is
handed on follows from that history alone, and a resumed run decides as one that was not interrupted.
"""

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from prefix_rft_trl.utils.files import named_in_errors
from prefix_rft_trl.utils.patching import replaced

from .checkpoints import AtomicCheckpoints
from .curve import CurveWriter
from .folder import CANDIDATES


LOSS = "eval_loss"
HANDED_ON = "handed_on_step"


def steps_at_plateau(losses: Mapping[int, float], tolerance: float) -> list[int]:
    """
    The steps, in order, whose validation loss is below all before it, and at most `1 + tolerance` times the smallest.

    The first of them is that of RETU's rule (arXiv 2512.11470) for the end of SFT, there with 2%. If a later loss is
    smaller, it is another of them or the later step: one whose loss is not below all before it is never the first.
    """
    bound = min(losses.values(), default=0.0) * (1 + tolerance)
    found: list[int] = []
    smallest = math.inf
    for step in sorted(losses):
        if losses[step] < smallest:
            smallest = losses[step]
            found += [step] if smallest <= bound else []
    return found


def evaluated_losses(log_history: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """The validation loss at each step that was evaluated."""
    return {logs["step"]: logs[LOSS] for logs in log_history if LOSS in logs}


class PlateauHandover(TrainerCallback):
    """
    Ends training with the earliest model whose validation loss is within a tolerance of the smallest.

    After each evaluation the model is saved into `plateau_candidates`, if it can still be handed on. Those that cannot
    are removed, except the ones that a checkpoint in the folder could still hand on if it were resumed. At the end the
    weights of the chosen model are loaded, the last line of the curve is measured again, and its `handed_on_step` says
    the step.

    Args:
        trainer (`AtomicCheckpoints`): with `eval_strategy: steps` and an `eval_dataset`.
        tolerance (`float`): share of the smallest loss.

    Raises:
        ValueError: if the model is sharded, an evaluation gives no loss, or a resumed run lacks the model of a
            candidate.
    """

    def __init__(self, trainer: AtomicCheckpoints, tolerance: float):
        self.trainer, self.tolerance = trainer, tolerance
        self.folder = Path(trainer.args.output_dir, CANDIDATES)
        deepspeed = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
        if trainer.is_fsdp_enabled or (deepspeed and deepspeed.zero_stage == 3):
            raise ValueError(
                "`plateau_tolerance` loads an earlier model when training ends, and under ZeRO-3 or FSDP no process "
                "has all of one. Train with ZeRO-2 or without sharding, or leave it out."
            )

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer.accelerator.wait_for_everyone()
        if args.should_save:
            self._remove(step for step in self._saved_steps() if step not in self._kept(state, [state.global_step]))
        if missing := [step for step in self._candidates(state) if not self._model_of(step).is_dir()]:
            raise ValueError(
                f"the checkpoint may hand on the model of step {missing[0]}, and {self._model_of(missing[0])} is not "
                "there. Resume it in the folder in which it was made, or leave out `plateau_tolerance`."
            )

    def on_step_begin(self, args, state, control, **kwargs):
        step = state.global_step
        is_due = step > 0 and step >= args.eval_delay and step % state.eval_steps == 0
        if is_due and step not in evaluated_losses(state.log_history):
            self.trainer.evaluate()  # a signal has stopped the run before it

    def on_step_end(self, args, state, control, **kwargs):
        control.should_evaluate |= state.global_step >= state.max_steps

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if not self.trainer.is_in_train:
            return
        loss = (metrics or {}).get(LOSS, math.nan)
        if not math.isfinite(loss):
            raise ValueError(
                f"`plateau_tolerance` compares validation losses, and the evaluation at step {state.global_step} gave "
                f"{loss}. See whether the rows of the evaluation have demonstrations."
            )
        if state.global_step in self._candidates(state):
            self._save(state.global_step)
        if args.should_save:
            self._remove(set(self._saved_steps()) - self._kept(state, [state.global_step, *self._checkpoints()]))

    def on_train_end(self, args, state, control, **kwargs):
        if self.trainer.is_stopping or not (candidates := self._candidates(state)):
            return
        self.trainer.accelerator.wait_for_everyone()  # until the model is there
        step, losses = candidates[0], evaluated_losses(state.log_history)
        best = min(losses, key=lambda step: losses[step])
        self.trainer.accelerator.print(
            f"\nThe model of step {step} of {state.global_step} is handed on: its validation loss of "
            f"{losses[step]:.4g} is the first within {100 * self.tolerance:g}% of the smallest, {losses[best]:.4g} at "
            f"step {best}."
        )
        is_last = step == state.global_step
        if not is_last:
            with replaced(self.trainer, "_issue_warnings_after_load", lambda result: None):  # of weights that are tied
                self.trainer._load_from_checkpoint(str(self._model_of(step)))
        self.trainer.log({HANDED_ON: step})
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, CurveWriter):
                callback.replace_last(None if is_last else self.trainer.model, state, {HANDED_ON: step})
        self.trainer.accelerator.wait_for_everyone()  # until all have loaded it
        if args.should_save:
            self._remove(set(self._saved_steps()) - self._kept(state, self._checkpoints()))

    def _candidates(self, state: Any, last_step: int | None = None) -> list[int]:
        """The steps that can still be handed on, or could be at an earlier step."""
        losses = evaluated_losses(state.log_history)
        return steps_at_plateau(
            {step: loss for step, loss in losses.items() if last_step is None or step <= last_step}, self.tolerance
        )

    def _kept(self, state: Any, resumable: Iterable[int]) -> set[int]:
        return {candidate for step in resumable for candidate in self._candidates(state, step)}

    def _checkpoints(self) -> list[int]:
        names = (path.name.removeprefix("checkpoint-") for path in self.folder.parent.glob("checkpoint-*"))
        return [int(name) for name in names if name.isdigit()]

    def _saved_steps(self) -> list[int]:
        names = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return [int(name) for name in names if name.isdigit()]

    def _model_of(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def _save(self, step: int) -> None:
        """Saves the model of a step, which appears under its name complete or not at all."""
        folder, partial = self._model_of(step), self.folder / "partial"
        with named_in_errors(folder):
            if self.trainer.args.should_save:
                shutil.rmtree(partial, ignore_errors=True)
            self.trainer.accelerator.wait_for_everyone()
            self.trainer.save_model(str(partial), _internal_call=True)
            self.trainer.accelerator.wait_for_everyone()
            if self.trainer.args.should_save:
                self._remove([step])
                partial.rename(folder)

    def _remove(self, steps: Iterable[int]) -> None:
        for step in steps:
            shutil.rmtree(self._model_of(step), ignore_errors=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
