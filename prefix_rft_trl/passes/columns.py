"""Columns of a padded batch that some rows use: prompts are padded on the left, completions on the right.

| padding | prompt | completion | padding |
          |<------ columns ------>|
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PassColumns:
    """The last `prompt` columns of a batch's prompts and the first `completion` columns of its completions."""

    prompt: int
    completion: int

    @classmethod
    def of_all(cls, rows: Iterable["PassColumns"]) -> "PassColumns":
        """Those that any of the rows uses; there is at least one row."""
        prompts, completions = zip(*((row.prompt, row.completion) for row in rows), strict=True)
        return cls(max(prompts), max(completions))

    @property
    def width(self) -> int:
        return self.prompt + self.completion

    def rounded(self, multiple: int | None, whole: "PassColumns") -> "PassColumns":
        """At least one column a side, in multiples (`pad_to_multiple_of`), and no more than the whole batch has."""
        step = multiple or 1
        prompt, completion = (-(-max(length, 1) // step) * step for length in (self.prompt, self.completion))
        return PassColumns(min(prompt, whole.prompt), min(completion, whole.completion))

    def cut(self, tensor: torch.Tensor, whole: "PassColumns") -> torch.Tensor:
        """These columns of a tensor of shape (rows, whole width)."""
        return tensor[:, whole.prompt - self.prompt : whole.prompt + self.completion]


def row_lengths(attention_mask: torch.Tensor, completion_width: int) -> torch.Tensor:
    """Columns that each row attends to, counted from where its prompt meets its completion.

    Args:
        attention_mask (`torch.Tensor`): shape (rows, prompt width + completion width).
        completion_width (`int`): columns of the completions.

    Returns:
        `torch.Tensor`: shape (rows, 2), in tokens: of the prompt and of the completion.
    """
    prompt, completion = attention_mask.split([attention_mask.size(1) - completion_width, completion_width], dim=1)
    return torch.stack([_last_used(prompt.flip(1)), _last_used(completion)], dim=1)


def _last_used(mask: torch.Tensor) -> torch.Tensor:
    """Columns up to the last one that is set, shape (rows,)."""
    positions = torch.arange(1, mask.size(1) + 1, device=mask.device)
    return (mask.bool() * positions).amax(dim=1)


def put_back(parts: list[torch.Tensor], rows: list[torch.Tensor | None], shape: tuple[int, int]) -> torch.Tensor:
    """A batch of zeros in which the first columns of some rows are set.

    Args:
        parts (`list[torch.Tensor]`): shapes (rows of the part, columns of the part).
        rows (`list[torch.Tensor | None]`): where the rows of each part belong; `None` for a part with all of them.
        shape (`tuple[int, int]`): of the batch.
    """
    widened = [torch.nn.functional.pad(part, (0, shape[1] - part.size(1))) for part in parts]
    if rows == [None]:
        return widened[0]
    return widened[0].new_zeros(shape).index_copy(0, torch.cat(rows), torch.cat(widened))
