"""How far each row of `generate` may decode: a prefix and what follows it share one budget.

A batch goes on until its last row has ended. A hybrid row that has used its budget has ended, however long the others
may still be, so a batch whose rows are all at their ends takes no further step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from prefix_rft_trl.utils.patching import replaced


class WithinBudgets(StoppingCriteria):
    """Ends each row of a batch once it has decoded as many tokens as it may."""

    def __init__(self, budgets: list[int]):
        self.budgets = torch.tensor(budgets)
        self.prompt_width: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        if self.prompt_width is None:
            self.prompt_width = input_ids.size(1) - 1
            self.budgets = self.budgets.to(input_ids.device)
        return self.budgets <= input_ids.size(1) - self.prompt_width


@contextmanager
def decoding_within(model: PreTrainedModel, budgets: list[int]) -> Iterator[None]:
    """While it is open, each row of `model.generate` decodes at most as many tokens as its budget, at least 1."""
    if len(set(budgets)) == 1:  # `max_new_tokens` says it
        yield
        return
    criteria = StoppingCriteriaList([WithinBudgets(budgets)])
    with replaced(model, "generate", partial(model.generate, stopping_criteria=criteria)):
        yield
