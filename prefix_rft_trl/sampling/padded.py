"""Known tokens in a padded batch: hybrid rows without making the other rows longer.

`generate` pads all prompts to the longest. If hybrid rows simply had longer prompts, seven on-policy rows of eight
would be padded by the length of a prefix, in the prefill and in the cache of every decoded token. So a prefix fills
the padding that its row has anyway, and the rest of it rides along: in the decoding steps that the on-policy rows take
at the same time, the row's next token is set, not sampled. Engines without padding do not need this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from prefix_rft_trl.utils.patching import replaced


def split_at_padding(
    prompt_ids: list[list[int]], prefixes: list[list[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Splits each prefix into what fits into the padding of its row's prompt and what rides along.

    If every row has a prefix, nobody is padded for another's sake: all of it goes into the prompts.
    """
    if all(prefixes):
        return prefixes, [[] for _ in prefixes]
    width = max(map(len, prompt_ids))
    room = [width - len(ids) for ids in prompt_ids]
    return (
        [prefix[:free] for prefix, free in zip(prefixes, room, strict=True)],
        [prefix[free:] for prefix, free in zip(prefixes, room, strict=True)],
    )


class StartWith(LogitsProcessor):
    """Sets the first tokens that each row decodes; a row whose tokens are used up is sampled as usual."""

    def __init__(self, starts: list[list[int]]):
        self.steps = [
            [(row, start[step]) for row, start in enumerate(starts) if step < len(start)]
            for step in range(max(map(len, starts)))
        ]
        self.prompt_width: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.prompt_width is None:
            self.prompt_width = input_ids.size(1)
        step = input_ids.size(1) - self.prompt_width
        if step < len(self.steps):
            rows, tokens = torch.tensor(self.steps[step], device=scores.device).unbind(dim=1)
            scores[rows] = -torch.inf
            scores[rows, tokens] = 0.0
        return scores


@contextmanager
def starting_with(model: PreTrainedModel, starts: list[list[int]]) -> Iterator[None]:
    """While it is open, each row of `model.generate` decodes the given ids first."""
    if not any(starts):
        yield
        return
    processors = LogitsProcessorList([StartWith(starts)])
    with replaced(model, "generate", partial(model.generate, logits_processor=processors)):
        yield


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
