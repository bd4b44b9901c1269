"""Images of prompts that go to the sampler with text behind them, and not all of them, or some twice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PromptImages:
    """Images of the prompts of a batch, and what the processor made of them.

    Attributes:
        images (`list`, *optional*): the images of each row, `None` for one without; `None` if no row has any.
        fields (`dict`): what the model gets beside token ids, in TRL's form: pixels and what is said of them, over all
            rows one after the other, and lists of one value for each token of a row.
        process (`Callable`): makes the fields of some rows. Where a row's pixels are depends on the processor.
    """

    images: list[Any] | None
    fields: dict[str, Any]
    process: Callable[[list[int]], dict[str, Any]]

    def of_rows(
        self, rows: list[int], prompts: list[list[int]], batch_size: int
    ) -> tuple[list[Any] | None, dict[str, Any]]:
        """Images and fields of some rows.

        Args:
            rows (`list[int]`): of the batch, in the order in which they are sampled.
            prompts (`list[list[int]]`): token ids of each, with the text that follows its prompt.
            batch_size (`int`): rows of the batch.
        """
        if not self.fields and self.images is None:
            return None, {}
        chosen = None if self.images is None else [self.images[row] for row in rows]
        fields = self.fields if rows == list(range(batch_size)) else self.process(rows)
        return chosen, {name: _lengthened(value, prompts) for name, value in fields.items()}


def _lengthened(value: Any, prompts: list[list[int]]) -> Any:
    """Values of tokens with zeros, which stand for text, up to the length of each prompt; others as they are."""
    if not (isinstance(value, list) and value and isinstance(value[0], list)):
        return value
    return [[*of_tokens, *[0] * (len(ids) - len(of_tokens))] for of_tokens, ids in zip(value, prompts, strict=True)]
