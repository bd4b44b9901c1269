"""Samples the continuations of a batch in which some rows start with a prefix.

Prompt ids and prefix ids go to the sampler; prefix ids and sampled ids come back as the completion. Nothing is decoded
and encoded again.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from prefix_rft_trl.utils.patching import replaced

from . import continuous_batching, padded, vllm
from .returned_rows import rows_of_generate_checked, rows_of_vllm_checked
from .sampler_settings import refuse_settings_in_use


Item = TypeVar("Item")
Sampled = tuple[list[list[int]], list[list[float]] | None]


def sample_continuations(
    trainer: Any,
    sample: Callable[[list[int], list[list[int]], int], Sampled],
    prompt_ids: list[list[int]],
    prefixes: list[list[int]],
    num_generations: int,
    complete: list[bool],
    padding: int = 0,
    used: list[int] | None = None,
) -> Sampled:
    """Samples the continuation of each row's prefix, with whichever engine the trainer uses.

    Args:
        trainer ([`~trl.GRPOTrainer`]): whose engine and completion budget are used.
        sample (`Callable`): maps rows, their prompt ids and generations per prompt to completion ids and
            log-probabilities. A row may be left out, or be there twice.
        prompt_ids, prefixes (`list[list[int]]`): token ids of each row.
        num_generations (`int`): rows that share a prompt.
        complete (`list[bool]`): whether nothing follows the prefix of a row.
        padding (`int`): rows at the end of which no more than a token is needed.
        used (`list[int]`, *optional*): tokens of each row's prompt ids that belong to its completion; none by default.

    Returns:
        `tuple`: completion ids, prefixes included, and their log-probabilities, or `None` if the engine gives none.
        They are NaN for prefix tokens, which TRL treats as a ratio of 1.

    Raises:
        ValueError: naming a setting of the sampler, changed since the run began, that would lose prefixes.
        RuntimeError: if an engine does not go on from the rows that it was given.
    """
    if any(prefixes):
        refuse_settings_in_use(trainer)
    budget, training = trainer.max_completion_length, trainer.model.training
    rows = [row for row, is_complete in enumerate(complete) if not is_complete]
    requested = pad_to_longest_process(rows, trainer) if may_be_complete(trainer) else rows
    if not requested:
        unknown = [[math.nan] * len(prefix) for prefix in prefixes]
        return prefixes, unknown if trainer.use_vllm else None
    prompts = [prompt_ids[row] for row in requested]
    given = [prefixes[row] for row in rows] + [[]] * (len(requested) - len(rows))
    is_needed = [row < len(prefixes) - padding for row in rows] + [False] * (len(requested) - len(rows))
    forced: list[list[int]] = []
    if not (trainer.use_vllm or trainer.use_transformers_continuous_batching):
        given, forced = padded.split_at_padding(prompts, given)
    # A vLLM server samples a group from the group's first prompt. The prompts of a hybrid group differ, so each is
    # requested as a group of its own.
    taken = [used[row] if used else 0 for row in rows] + [0] * (len(requested) - len(rows))
    budgets = [
        max(budget - before - len(prefix), 1) if needed else 1
        for before, prefix, needed in zip(taken, given, is_needed, strict=True)
    ]
    with limit_new_tokens(trainer, budgets, forced):
        ids, logps = sample(requested, prepend(prompts, given), 1 if training else num_generations)
    trainer.model.train(training)  # continuous batching turns training mode on, and an evaluation would use prefixes
    completions = put_back(rows, prepend(given, within(budgets, ids)), prefixes)
    if logps is not None:
        unknown = [[math.nan] * len(prefix) for prefix in prefixes]
        sampled_logps = prepend([unknown[row] for row in rows], within(budgets, logps)[: len(rows)])
        logps = put_back(rows, sampled_logps, unknown)
    return completions, logps


def may_be_complete(trainer: Any) -> bool:
    """Whether some row may be a whole demonstration, or a whole turn of one."""
    args = trainer.args
    return args.gives_whole_demonstrations or 1 in (args.prefix_stage_ratios or ()) or bool(trainer.tools)


def pad_to_longest_process(rows: list[int], trainer: Any) -> list[int]:
    """Repeats row 0 until every process has the same number of rows, as the collective calls of engines require."""
    number = torch.tensor([len(rows)], device=trainer.accelerator.device)
    most = int(trainer.accelerator.gather(number).max())
    return rows + [0] * (most - len(rows))


@contextmanager
def limit_new_tokens(trainer: Any, budgets: list[int], forced: list[list[int]]) -> Iterator[None]:
    """Within the block each row decodes at most its budget of tokens, and the forced ones first.

    `min_new_tokens` is of a completion: a row decodes what is left of it after the prefix in its prompt.
    """
    if trainer.use_vllm:
        engine = trainer.vllm_generation
        with vllm.limit_new_tokens_per_row(engine, budgets), rows_of_vllm_checked(engine):
            yield
        return
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    settings = trainer.generation_config
    settings.max_new_tokens = max(budgets)
    if trainer.use_transformers_continuous_batching:
        with continuous_batching.limit_new_tokens_per_row(model, budgets):
            yield
        return
    least = [(settings.min_new_tokens or 0) - trainer.max_completion_length + budget for budget in budgets]
    others = [padded.LeastNewTokens(least, trainer.eos_token_ids)] if max(least) > 0 else []
    with (
        rows_of_generate_checked(model),
        replaced(settings, "min_new_tokens", 0),
        padded.force_prefixes(model, forced, others),
        padded.limit_new_tokens_per_row(model, budgets),
    ):
        yield


def within(budgets: list[int], sampled: list[list[Item]]) -> list[list[Item]]:
    """What was sampled without what follows the budgets, which pads rows to the longest."""
    return [items[:budget] for items, budget in zip(sampled, budgets, strict=True)]


def prepend(prefixes: list[list[Item]], continuations: list[list[Item]]) -> list[list[Item]]:
    """Prefix + continuation of each row."""
    return [[*before, *after] for before, after in zip(prefixes, continuations, strict=True)]


def put_back(rows: list[int], sampled: list[list[Item]], others: list[list[Item]]) -> list[list[Item]]:
    """All rows of a batch: `rows` from `sampled`, which may be longer, the rest from `others`."""
    by_row = dict(zip(rows, sampled, strict=False))
    return [by_row.get(row, other) for row, other in enumerate(others)]
