"""SFT on the demonstrations of a Prefix-RFT dataset, with TRL's trainer."""

from dataclasses import dataclass
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from .run.model_card import DescribedRun
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
        log_all (`bool`, *optional*, defaults to `False`):
            Whether to print all metrics of each log, as [`PrefixGRPOConfig`] describes.
    """

    _VALID_DICT_FIELDS = [*SFTConfig._VALID_DICT_FIELDS, "chat_template_kwargs"]

    max_length: int | None = None
    chat_template_kwargs: dict | str | None = None
    demonstration_column: str = "completion"
    answer_column: str | None = "solution"
    log_all: bool = False

    def __post_init__(self):
        self.check()
        super().__post_init__()
        refuse_old_deepspeed(self)
        refuse_cpu_without_kernels(self)

    def check(self) -> None:
        """Check types and values, as `PrefixGRPOConfig.check`."""
        check_settings(DemonstrationSFTConfig, vars(self))


class CountingSFTTrainer(DescribedRun, RunningTotals, SFTTrainer):
    """[`~trl.SFTTrainer`] that also logs `trained_tokens`: the tokens in the loss so far, over all processes."""

    _totals = (*RunningTotals._totals, "_trained_tokens", "_total_train_tokens")

    def __init__(self, *args: Any, **named: Any):
        self._trained_tokens = 0
        super().__init__(*args, **named)
        print_figures(self)

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
