"""Checkpoints that are complete, or can be seen not to be.

A run can be killed while it writes one. A checkpoint is marked as incomplete until every process has written its last
file; it then lists its files. Only after that are older ones deleted and is it pushed to the Hub.
"""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import transformers.trainer
from accelerate import PartialState
from accelerate.logging import get_logger
from accelerate.utils import broadcast_object_list, gather_object

from prefix_rft_trl.utils.errors import WorkError
from prefix_rft_trl.utils.faults import known_fault
from prefix_rft_trl.utils.patching import replaced

from .finite import FiniteWeights
from .folder import (
    delete_oldest,
    has_optimizer_state,
    last_checkpoint,
    mark_complete,
    mark_incomplete,
    why_damaged,
    why_incomplete,
)
from .identity import IDENTITY, Identity, differences, identify_checkpoint, identify_run, shape_differences
from .renamed_weights import LoadsRenamedWeights


logger = get_logger(__name__)
Choice = TypeVar("Choice")


class AtomicCheckpoints(LoadsRenamedWeights):
    """
    Mixin for a [`~transformers.Trainer`]: saves complete checkpoints and resumes only from those.

    `train(resume_from_checkpoint=...)` takes the path of a checkpoint, `True` for the last complete one in the output
    folder, or `"last"`, which starts from the beginning if there is none yet. A checkpoint of another run is refused.
    Weights that are not finite end the run before they are saved ([`~prefix_rft_trl.run.finite.FiniteWeights`]).

    Attributes:
        is_stopping (`bool`): whether training ends early ([`~prefix_rft_trl.run.StopOnSignal`]). The step's checkpoint
            is then saved and never deleted, whatever the settings say.
    """

    is_stopping = False
    _saved_step = -1

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(FiniteWeights(self))

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        checkpoint = resolve_checkpoint(self.args.output_dir, resume_from_checkpoint)
        self.refuse_other_run(checkpoint)
        return super().train(checkpoint, *args, **kwargs)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)
        else:  # a finished run that is resumed: the Trainer would take one more step
            self.control.should_training_stop = True

    @cached_property
    def run_identity(self) -> Identity:
        return identify_run(self)

    def refuse_other_run(self, checkpoint: str | None) -> None:
        """
        Checks, before anything is loaded, that a checkpoint is of this run. Every process calls it.

        Raises:
            ValueError: on every process, with what differs.
        """
        ours = self.run_identity  # also without a checkpoint: training wraps the model

        def refuse() -> None:
            if checkpoint is None:
                return
            theirs = identify_checkpoint(Path(checkpoint))
            found = differences(theirs, ours) or shape_differences(Path(checkpoint), self.model)
            if found:
                raise ValueError(
                    f"Cannot resume from {checkpoint}: it is of another run: {'; '.join(found)}. Resume it as it was "
                    "started, or start a new run in another `output_dir`."
                )

        _decide_on_main_process(refuse)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self.is_stopping and self._saved_step != self.state.global_step:
            self._save_checkpoint(self.model, trial=None)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        if not self.is_stopping:
            self._delete_oldest_checkpoints()  # which a run that was killed after its last one may have left
            return super()._finalize_training(*args, **kwargs)
        with replaced(self.args, "load_best_model_at_end", False), replaced(self.args, "save_total_limit", None):
            return super()._finalize_training(*args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        try:
            if self.args.should_save:
                mark_incomplete(folder)
            self.accelerator.wait_for_everyone()
            with (
                replaced(transformers.trainer, "rotate_checkpoints", _do_nothing),
                replaced(self, "_push_from_checkpoint", _do_nothing),
            ):
                super()._save_checkpoint(model, trial)
            self._save_extras(folder)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                (folder / IDENTITY).write_text(json.dumps(self.run_identity, indent=1) + "\n", encoding="utf-8")
                mark_complete(folder)
        except Exception as error:
            raise (WorkError if known_fault(error) else RuntimeError)(
                f"{folder} could not be written: {error}. The last complete checkpoint is "
                f"{last_checkpoint(folder.parent) or 'none'}. If the disk is full, make room (`save_total_limit` "
                "keeps fewer checkpoints); then run the same command with `--resume_from_checkpoint last`."
            ) from error
        self._saved_step = self.state.global_step
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder))
        self._delete_oldest_checkpoints()

    def _delete_oldest_checkpoints(self) -> None:
        if self.args.should_save:
            delete_oldest(Path(self.args.output_dir), self.args.save_total_limit, self.state.best_model_checkpoint)

    def _save_extras(self, folder: Path) -> None:
        """Hook: writes further files into a checkpoint, on each process."""


def resolve_checkpoint(folder: str, requested: str | bool | None) -> str | None:
    """
    Resolves `resume_from_checkpoint` to a complete checkpoint. The main process chooses, and every process calls it.

    Args:
        folder (`str`): the output folder of the run.
        requested (`str`, `bool` or `None`): a path, `True` or `"last"`; nothing to start from the beginning.

    Returns:
        `str` or `None`: the checkpoint; `None` to start from the beginning.

    Raises:
        ValueError: on every process, if the checkpoint is incomplete or damaged, if `True` finds none, or if not all
            processes see it.
    """
    if not requested or requested in ("None", "False", "false"):
        return None
    checkpoint = _decide_on_main_process(lambda: _choose(folder, requested))
    if not all(gather_object([checkpoint is None or Path(checkpoint).is_dir()])):
        raise ValueError(
            f"Not all processes see {checkpoint}: `output_dir` has to be on a disk that all nodes share, under the "
            "same path."
        )
    return checkpoint


def _decide_on_main_process(decide: Callable[[], Choice]) -> Choice:
    """What the main process decides; the `ValueError` that it raises, on every process."""
    choice: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            choice[0] = decide()
        except ValueError as error:
            choice[1] = str(error)
    broadcast_object_list(choice, from_process=0)
    decided, refusal = choice
    if refusal is not None:
        raise ValueError(refusal)
    return decided


def _choose(folder: str, requested: str | bool) -> str | None:
    is_required = requested is True or requested in ("True", "true")
    if is_required or requested == "last":
        checkpoint = last_checkpoint(folder, logger.warning, verify=True)
        if checkpoint is None and is_required:
            raise ValueError(
                f"`resume_from_checkpoint=True`, but {folder} holds no complete checkpoint. Leave it out."
            )
        if checkpoint is None:
            logger.warning(f"There is no complete checkpoint in {folder} yet: what is to be trained starts afresh.")
        else:
            logger.warning(f"Resuming from {checkpoint}.")
    else:
        checkpoint = str(requested)
        reason = why_incomplete(Path(checkpoint)) or why_damaged(Path(checkpoint))
        if reason is not None:
            last = last_checkpoint(Path(checkpoint).parent, verify=True) or "none"
            raise ValueError(f"Cannot resume from {checkpoint}: {reason} The last complete checkpoint there: {last}.")
    if checkpoint is not None and not has_optimizer_state(Path(checkpoint)):
        logger.warning(
            f"{checkpoint} holds the model alone (`save_only_model`): optimizer and learning rate start afresh."
        )
    return checkpoint


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    pass
