"""Hybrid rows in the padded batches of transformers' `generate`, without making the other rows longer.

`generate` pads all prompts to the longest. If hybrid rows simply had longer prompts, seven on-policy rows of eight
would be padded by the length of a prefix, in the prefill and in the cache of every decoded token. So a prefix fills
the padding that its row has anyway, and the rest is forced during decoding: while the on-policy rows sample their
first tokens, the row's next token is set, not sampled. Engines without padding do not need this.

Prefix and continuation share one token budget. A row that has used its budget is finished, however long the others
still are, so a batch whose rows are all finished takes no further step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from prefix_rft_trl.utils.patching import replaced


def split_at_padding(
    prompt_ids: list[list[int]], prefixes: list[list[int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Splits each prefix into the part that fits into the padding of its row's prompt and the part to be forced.

    If every row has a prefix, there is no on-policy row to pad, and all prefixes go into the prompts.
    """
    if all(prefixes):
        return prefixes, [[] for _ in prefixes]
    width = max(map(len, prompt_ids))
    room = [width - len(ids) for ids in prompt_ids]
    return (
        [prefix[:free] for prefix, free in zip(prefixes, room, strict=True)],
        [prefix[free:] for prefix, free in zip(prefixes, room, strict=True)],
    )


class ForcePrefix(LogitsProcessor):
    """Forces known tokens at the start of each row of a padded generation; rows without any are sampled as usual.

    Args:
        prefixes (`list[list[int]]`): token ids for each row.
    """

    def __init__(self, prefixes: list[list[int]]):
        self.steps = [
            [(row, prefix[step]) for row, prefix in enumerate(prefixes) if step < len(prefix)]
            for step in range(max(map(len, prefixes)))
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


class LeastNewTokens(LogitsProcessor):
    """Lets no row end before it has decoded a number of tokens of its own.

    Args:
        least (`list[int]`): tokens for each row.
        stop_ids (`list[int]`): ids of the tokens that end a completion.
    """

    def __init__(self, least: list[int], stop_ids: list[int]):
        self.least, self.stop_ids = torch.tensor(least), stop_ids
        self.prompt_width: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.prompt_width is None:
            self.prompt_width = input_ids.size(1)
            self.least = self.least.to(scores.device)
        may_not_end = self.least > input_ids.size(1) - self.prompt_width
        scores[:, self.stop_ids] = scores[:, self.stop_ids].masked_fill(may_not_end.unsqueeze(1), -torch.inf)
        return scores


@contextmanager
def force_prefixes(
    model: PreTrainedModel, prefixes: list[list[int]], others: Sequence[LogitsProcessor] = ()
) -> Iterator[None]:
    """Within the block each row of `model.generate` decodes the given ids first, whatever the others say."""
    processors = [*others, *([ForcePrefix(prefixes)] if any(prefixes) else [])]
    if not processors:
        yield
        return
    generate = partial(model.generate, logits_processor=LogitsProcessorList(processors))
    with replaced(model, "generate", generate):
        yield


class TokenBudgets(StoppingCriteria):
    """Finishes each row of a batch once it has decoded its budget of tokens."""

    def __init__(self, budgets: list[int]):
        self.budgets = torch.tensor(budgets)
        self.prompt_width: int | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs) -> torch.Tensor:
        if self.prompt_width is None:
            self.prompt_width = input_ids.size(1) - 1
            self.budgets = self.budgets.to(input_ids.device)
        return self.budgets <= input_ids.size(1) - self.prompt_width


@contextmanager
def limit_new_tokens_per_row(model: PreTrainedModel, budgets: list[int]) -> Iterator[None]:
    """Within the block each row of `model.generate` decodes at most its budget of tokens, at least 1."""
    if len(set(budgets)) == 1:  # `max_new_tokens` limits them
        yield
        return
    criteria = StoppingCriteriaList([TokenBudgets(budgets)])
    with replaced(model, "generate", partial(model.generate, stopping_criteria=criteria)):
        yield
