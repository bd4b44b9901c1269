"""Pack the rows of a forward pass into one row without padding."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


IGNORED = -100
MIN_TOKENS = 2  # a label needs a token before it


@dataclass(frozen=True)
class PackedRows:
    """The tokens of a padded batch, one row after the other.

    Args:
        kept (`torch.Tensor` of shape (rows, length)): which positions of the batch are packed.
        starts (`torch.Tensor` of shape (filled rows + 1,)): where each row begins among the packed tokens, and their
            number.
    """

    kept: torch.Tensor
    starts: torch.Tensor

    @classmethod
    def of_mask(cls, attention_mask: torch.Tensor) -> "PackedRows":
        """Pack what a mask of shape (rows, length) attends to; the ones of each row are neighbours.

        Rows without any disappear. A batch without any keeps two tokens, so that a model can still be called.
        """
        kept = attention_mask.bool()
        if kept.sum() < MIN_TOKENS:
            kept = torch.zeros_like(kept)
            kept[0, -MIN_TOKENS:] = True
        lengths = kept.sum(dim=1)
        ends = lengths[lengths > 0].cumsum(0)
        return cls(kept, torch.cat([ends.new_zeros(1), ends]))

    @property
    def position_ids(self) -> torch.Tensor:
        """Positions of shape (1, tokens), from 0 in each row."""
        lengths = self.starts.diff()
        tokens = torch.arange(int(self.starts[-1]), device=self.starts.device)
        return (tokens - self.starts[:-1].repeat_interleave(lengths))[None]

    @property
    def boundaries(self) -> dict[str, Any]:
        """Arguments of variable-length attention kernels, which transformers would look for in every layer."""
        starts, longest = self.starts.int(), int(self.starts.diff().max())
        return {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}

    def pack(self, values: torch.Tensor) -> torch.Tensor:
        """From shape (rows, length) to (1, tokens)."""
        return values[self.kept][None]

    def pack_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """As `pack`; the first token of a row is not to be predicted from the row before it."""
        packed = self.pack(labels)
        packed[0, self.starts[:-1]] = IGNORED
        return packed

    def unpack(self, values: torch.Tensor) -> torch.Tensor:
        """From one value for each packed token but the first, (1, tokens - 1), to (rows, length - 1) with zeros."""
        first = values.new_zeros(1, 1)
        padded = values.new_zeros(self.kept.shape).masked_scatter(self.kept, torch.cat([first, values], dim=1))
        return padded[:, 1:]


@dataclass(frozen=True)
class PackedModel:
    """A model with a fused LM head (`trl.trainer.utils.add_fused_lm_head`) that is called on packed rows.

    It takes the arguments with which TRL calls the model for log-probabilities, and returns what the model returns;
    values for each token are at the places of the padded batch, with zeros where nothing is attended to.
    """

    model: Callable[..., Any]

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor, **named: Any
    ) -> Any:
        rows = PackedRows.of_mask(attention_mask)
        outputs = self.model(
            input_ids=rows.pack(input_ids),
            position_ids=rows.position_ids,
            labels=rows.pack_labels(labels),
            **rows.boundaries,
            **named,
        )
        shape = outputs.log_probs.shape
        for name, value in list(outputs.items()):
            if torch.is_tensor(value) and value.shape == shape:
                outputs[name] = rows.unpack(value)
        return outputs
