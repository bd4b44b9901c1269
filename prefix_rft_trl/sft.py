"""SFT on the demonstrations of a Prefix-RFT dataset, with TRL's trainer."""

from dataclasses import dataclass
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from .run.model_card import DescribedRun
from .run.plateau import PlateauHandover
from .run.printed_log import print_figures
from .run.running_totals import RunningTotals
from .utils.deepspeed import refuse_old_deepspeed
from .utils.documented import documented
from .utils.loss_kernels import refuse_cpu_without_kernels
from .utils.setting_ranges import check_settings


TRAINED_TOKENS = "trained_tokens"


@documented
@dataclass
class DemonstrationSFTConfig(SFTConfig):
    """
    [`~trl.SFTConfig`] for the datasets of Prefix-RFT.

    Args:
        max_length (`int`, *optional*):
            Length in tokens to which rows are truncated. Unlike in TRL, by default none is, since a long demonstration
            would lose its answer.
        chat_template_kwargs (`dict`, *optional*):
            Further arguments of the chat template, as in [`~trl.GRPOConfig`].
        demonstration_column (`str`, *optional*, defaults to `"completion"`):
            Column that holds the demonstrations.
        answer_column (`str`, *optional*, defaults to `"solution"`):
            Column that holds the right answers, for `measure_steps`.
        plateau_tolerance (`float`, *optional*):
            The model that is saved, and from which a next stage starts, is the earliest one whose validation loss is
            within this share of the smallest, instead of the last one: RETU's rule (arXiv 2512.11470) with 0.02. The
            loss is that of `eval_strategy: steps` on the split `dataset_test_split`. Models that can still be chosen
            are kept in `plateau_candidates` until the end: those whose loss is within the share of the smallest and
            below all before it, so few once the loss is flat, and each of them takes the disk of one model. With
            several nodes that folder must be on a disk that all of them share.
        log_all (`bool`, *optional*, defaults to `False`):
            Whether to print all metrics of each log, as [`PrefixGRPOConfig`] describes.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    max_length: int | None = None
    chat_template_kwargs: dict | str | None = None
    demonstration_column: str = "completion"
    answer_column: str | None = "solution"
    plateau_tolerance: float | None = None
    log_all: bool = False

    def __post_init__(self):
        self.check()
        super().__post_init__()
        refuse_old_deepspeed(self)
        refuse_cpu_without_kernels(self)

    def check(self) -> None:
        """Check types and values, as `PrefixGRPOConfig.check`."""
        check_settings(DemonstrationSFTConfig, vars(self))
        if self.plateau_tolerance is not None:
            self._check_evaluation()

    def _check_evaluation(self) -> None:
        strategy = getattr(self.eval_strategy, "value", self.eval_strategy)
        if strategy != "steps":
            raise ValueError(
                f"`plateau_tolerance` compares the validation losses of `eval_strategy: steps`, found {strategy!r}. "
                "Set it, with `eval_steps`, and `dataset_test_split` to the split with the held-out demonstrations."
            )
        if self.load_best_model_at_end:
            raise ValueError(
                "`plateau_tolerance` and `load_best_model_at_end` both say which model training ends with. Set one."
            )


class CountingSFTTrainer(DescribedRun, RunningTotals, SFTTrainer):
    """[`~trl.SFTTrainer`] that also logs `trained_tokens`: the tokens in the loss so far, over all processes."""

    _totals = (*RunningTotals._totals, "_trained_tokens", "_total_train_tokens")

    def __init__(self, *args: Any, **named: Any):
        self._trained_tokens = 0
        super().__init__(*args, **named)
        print_figures(self)
        tolerance = getattr(self.args, "plateau_tolerance", None)
        if tolerance is not None:
            self.add_callback(PlateauHandover(self, tolerance))

    def _restore_totals(self) -> None:
        super()._restore_totals()
        logged = [logs[TRAINED_TOKENS] for logs in self.state.log_history if TRAINED_TOKENS in logs]
        self._trained_tokens = max([self._trained_tokens, *logged[-1:]])  # of 0.6.0, whose checkpoints have no totals

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> torch.Tensor:
        if self.model.training:
            tokens = (inputs["labels"] != -100).sum()
            self._trained_tokens += self.accelerator.reduce(tokens, reduction="sum").item()
            self._metrics["train"][TRAINED_TOKENS] = [self._trained_tokens]
        return super().compute_loss(model, inputs, *args, **named)
