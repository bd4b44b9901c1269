"""Checkpoints that are whole, or are seen not to be.

A run can be killed while it writes one. A checkpoint is marked until its last file is there, on all processes, and
lists its files; older ones are deleted, and the Hub is told, only then.
"""

from pathlib import Path
from typing import Any

import transformers.trainer
from accelerate import PartialState
from accelerate.logging import get_logger
from accelerate.utils import broadcast_object_list, gather_object
from transformers import Trainer
from transformers.trainer_utils import rotate_checkpoints

from prefix_rft_trl.utils.patching import replaced

from .folder import close_checkpoint, fault_of, holds_optimizer, last_checkpoint, open_checkpoint


logger = get_logger(__name__)


class WholeCheckpoints(Trainer):
    """
    What a [`~transformers.Trainer`] inherits from beside its own class, so that it goes on from whole checkpoints.

    `train(resume_from_checkpoint=...)` takes the path of a checkpoint, `True` for the last whole one of the output
    folder, or `"last"`, which starts from the beginning where there is none yet.

    Attributes:
        is_stopping (`bool`): whether training ends before its time ([`~prefix_rft_trl.run.stopping.StopOnSignal`]). It
            saves a checkpoint after its step then, which no other setting deletes.
    """

    is_stopping = False

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        checkpoint = checkpoint_to_go_on_from(self.args.output_dir, resume_from_checkpoint)
        return super().train(checkpoint, *args, **kwargs)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self.is_stopping and self._saved_step != self.state.global_step:
            self._save_checkpoint(self.model, trial=None)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        if not self.is_stopping:
            return super()._finalize_training(*args, **kwargs)
        with replaced(self.args, "load_best_model_at_end", False), replaced(self.args, "save_total_limit", None):
            return super()._finalize_training(*args, **kwargs)

    _saved_step = -1

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        try:
            if self.args.should_save:
                open_checkpoint(folder)
            self.accelerator.wait_for_everyone()
            with (
                replaced(transformers.trainer, "rotate_checkpoints", _do_nothing),
                replaced(self, "_push_from_checkpoint", _do_nothing),
            ):
                super()._save_checkpoint(model, trial)
            self._save_beside(folder)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                close_checkpoint(folder)
        except Exception as error:
            raise RuntimeError(
                f"{folder} could not be written: {error}. The last whole checkpoint is "
                f"{last_checkpoint(folder.parent) or 'none'}. If the disk is full, make room (`save_total_limit` "
                "keeps fewer checkpoints); then give the same command with `--resume_from_checkpoint last`."
            ) from error
        self._saved_step = self.state.global_step
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder))
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(folder.parent),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )

    def _save_beside(self, folder: Path) -> None:
        """Writes what a checkpoint holds besides that of the trainer, on each process."""


def checkpoint_to_go_on_from(folder: str, asked_for: str | bool | None) -> str | None:
    """The whole checkpoint that is asked for: a path, `True` or `"last"`; `None` to start from the beginning.

    Every process calls it. The main one chooses.

    Raises:
        ValueError: on every process, if the checkpoint is not whole, if there is none and `True` asks for one, or if
            not all processes see it.
    """
    if not asked_for or asked_for in ("None", "False", "false"):
        return None
    choice: list[Any] = [None, None]
    if PartialState().is_main_process:
        try:
            choice[0] = _choose(folder, asked_for)
        except ValueError as error:
            choice[1] = str(error)
    broadcast_object_list(choice, from_process=0)
    checkpoint, refusal = choice
    if refusal is not None:
        raise ValueError(refusal)
    if not all(gather_object([checkpoint is None or Path(checkpoint).is_dir()])):
        raise ValueError(
            f"Not all processes see {checkpoint}: `output_dir` has to be on a disk that all nodes share, under the "
            "same path."
        )
    return checkpoint


def _choose(folder: str, asked_for: str | bool) -> str | None:
    is_any = asked_for is True or asked_for in ("True", "true")
    if is_any or asked_for == "last":
        checkpoint = last_checkpoint(folder, logger.warning)
        if checkpoint is None and is_any:
            raise ValueError(f"`resume_from_checkpoint=True`, but {folder} holds no whole checkpoint. Leave it out.")
        if checkpoint is None:
            logger.warning(f"There is no whole checkpoint in {folder} yet: starting from the beginning.")
        else:
            logger.warning(f"Going on from {checkpoint}.")
    else:
        checkpoint = str(asked_for)
        fault = fault_of(Path(checkpoint))
        if fault is not None:
            beside = last_checkpoint(Path(checkpoint).parent) or "none"
            raise ValueError(f"Cannot go on from {checkpoint}: {fault} The last whole checkpoint beside it: {beside}.")
    if checkpoint is not None and not holds_optimizer(Path(checkpoint)):
        logger.warning(
            f"{checkpoint} holds the model alone (`save_only_model`): optimizer and learning rate start afresh."
        )
    return checkpoint


def _do_nothing(*args: Any, **kwargs: Any) -> None:
    pass
