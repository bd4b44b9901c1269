"""SFT with TRL's trainer, which here also counts the tokens that it trains on."""

from typing import Any

import torch
from trl import SFTTrainer

from .run.checkpoints import WholeCheckpoints


TRAINED_TOKENS = "trained_tokens"


class CountingSFTTrainer(WholeCheckpoints, SFTTrainer):
    """TRL's trainer, which logs `trained_tokens` as well: tokens in the loss so far, over all processes."""

    def __init__(self, *args: Any, **named: Any):
        self._trained_tokens = 0
        super().__init__(*args, **named)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **named: Any) -> torch.Tensor:
        if self.model.training:
            in_loss = (inputs["labels"] != -100).sum()
            self._trained_tokens += self.accelerator.reduce(in_loss, reduction="sum").item()
            self._metrics["train"][TRAINED_TOKENS] = [self._trained_tokens]
        return super().compute_loss(model, inputs, *args, **named)
