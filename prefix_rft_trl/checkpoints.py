"""Checkpoints that are whole, or are seen not to be.

A run can be killed while it writes one. A checkpoint is marked until its last file is there, on all processes, and
lists its files; older ones are deleted only then.
"""

from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from transformers import Trainer
from transformers.trainer_utils import rotate_checkpoints

from .patching import replaced
from .run_folder import close_checkpoint, fault_of, last_checkpoint, open_checkpoint


logger = get_logger(__name__)


class WholeCheckpoints(Trainer):
    """
    What a [`~transformers.Trainer`] inherits from beside its own class, so that it goes on from whole checkpoints.

    `train(resume_from_checkpoint=...)` takes the path of a checkpoint, `True` for the last whole one of the output
    folder, or `"last"`, which starts from the beginning where there is none yet.
    """

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        checkpoint = checkpoint_to_go_on_from(self.args.output_dir, resume_from_checkpoint)
        return super().train(checkpoint, *args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial), f"checkpoint-{self.state.global_step}")
        if self.args.should_save:
            open_checkpoint(folder)
        self.accelerator.wait_for_everyone()
        try:
            with replaced(self.args, "save_total_limit", None):
                super()._save_checkpoint(model, trial)
            self._save_beside(folder)
        except Exception as error:
            raise RuntimeError(
                f"{folder} could not be written: {error}. The last whole checkpoint is "
                f"{last_checkpoint(folder.parent) or 'none'}. If the disk is full, make room (`save_total_limit` "
                "keeps fewer checkpoints); then give the same command with `--resume_from_checkpoint last`."
            ) from error
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            close_checkpoint(folder)
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

    Raises:
        ValueError: if the checkpoint is not whole, or there is none and `True` asks for one.
    """
    if not asked_for or asked_for in ("None", "False", "false"):
        return None
    is_any = asked_for is True or asked_for in ("True", "true")
    if not is_any and asked_for != "last":
        return _whole(str(asked_for))
    checkpoint = last_checkpoint(folder, logger.warning)
    if checkpoint is not None:
        logger.warning(f"Going on from {checkpoint}.")
    elif is_any:
        raise ValueError(f"`resume_from_checkpoint=True`, but {folder} holds no whole checkpoint. Leave it out.")
    else:
        logger.warning(f"There is no whole checkpoint in {folder} yet: starting from the beginning.")
    return checkpoint


def _whole(checkpoint: str) -> str:
    fault = fault_of(Path(checkpoint))
    if fault is not None:
        beside = last_checkpoint(Path(checkpoint).parent) or "none"
        raise ValueError(f"Cannot go on from {checkpoint}: {fault} The last whole checkpoint beside it: {beside}.")
    return checkpoint
