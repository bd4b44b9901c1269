"""vLLM with a token budget and sampling parameters of its own for each row, colocated or on a server."""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any

import torch
from accelerate.utils import gather_object

from prefix_rft_trl.utils.patching import replaced

from .vllm_server import fail_together


MAX_CONCURRENT_REQUESTS = 64  # as many connections as TRL's client keeps open


@contextmanager
def limit_new_tokens_per_row(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    """Within the block each prompt of `vllm_generation.generate` decodes at most its budget of tokens.

    `min_tokens` is of a completion: a row decodes at least what its prefix leaves of it.

    Every process enters and leaves it, around the weight sync too.

    Args:
        vllm_generation ([`~trl.generation.vllm_generation.VLLMGeneration`]): the trainer's engine, or its client.
        budgets (`list[int]`): tokens for each prompt of this process, at least 1. If none on any process is smaller
            than `vllm_generation.max_completion_length`, TRL's request is not changed.

    Raises:
        RuntimeError: on every process, if the server goes away (`fail_together`).
    """
    limit = _limit_server if vllm_generation.mode == "server" else _limit_colocated
    with limit(vllm_generation, budgets):
        yield


@contextmanager
def _limit_colocated(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    budgets = gather_over_tensor_parallel_group(vllm_generation, budgets)
    if min(budgets) >= vllm_generation.max_completion_length:
        yield
        return
    most = vllm_generation.max_completion_length
    changes = [partial(_limit_tokens, most=most, budget=budget) for budget in budgets]
    with change_sampling_params_per_row(vllm_generation.llm, changes):
        yield


def _limit_tokens(params: Any, most: int, budget: int) -> None:
    params.max_tokens, params.min_tokens = budget, _least_tokens(params.min_tokens, most, budget)


def _least_tokens(of_completion: int | None, most: int, budget: int) -> int:
    """What a prefix, which has used the rest of the budget, leaves of the least number of tokens of a completion."""
    return min(budget, max(0, (of_completion or 0) - (most - budget)))


@contextmanager
def _limit_server(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    budgets = gather_object(budgets)
    client = vllm_generation.vllm_client if vllm_generation.accelerator.is_main_process else None
    with ExitStack() as stack:
        if client is not None and min(budgets) < vllm_generation.max_completion_length:
            stack.enter_context(replaced(client, "generate", _request_by_budget(client.generate, budgets)))
        stack.enter_context(fail_together(vllm_generation))
        yield


def _request_by_budget(generate: Callable[..., dict[str, Any]], budgets: list[int]) -> Callable[..., dict[str, Any]]:
    """Wraps `generate` of TRL's client so that it sends one request per distinct budget, concurrently."""
    rows: dict[int, list[int]] = {}
    for row, budget in enumerate(budgets):
        rows.setdefault(budget, []).append(row)

    def generate_by_budget(
        *,
        prompts: list[list[int]],
        max_tokens: int,
        features: list[Any] | None = None,
        generation_kwargs: dict[str, Any] | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        if len(prompts) != len(budgets):
            raise ValueError(
                f"{len(budgets)} rows have a token budget each, but {len(prompts)} prompts are sent to the vLLM "
                "server: with a budget per row, request one generation per prompt."
            )

        def request(budget: int) -> dict[str, Any]:
            kwargs = generation_kwargs or {}
            least = _least_tokens(kwargs.get("min_tokens"), max_tokens, budget)
            images = {} if features is None else {"features": [features[row] for row in rows[budget]]}
            return generate(
                prompts=[prompts[row] for row in rows[budget]],
                max_tokens=budget,
                generation_kwargs={**kwargs, "min_tokens": least},
                **images,
                **others,
            )

        with ThreadPoolExecutor(min(len(rows), MAX_CONCURRENT_REQUESTS)) as pool:
            answers = list(pool.map(request, rows))
        order = [*chain.from_iterable(rows.values())]
        return {key: _by_row(order, [answer[key] for answer in answers]) for key in answers[0]}

    return generate_by_budget


def _by_row(order: list[int], answers: list[list[Any] | None]) -> list[Any] | None:
    if any(answer is None for answer in answers):  # log-probabilities that were not requested
        return None
    values = dict(zip(order, chain.from_iterable(answers), strict=True))  # type: ignore[arg-type]
    return [values[row] for row in range(len(order))]


def gather_over_tensor_parallel_group(vllm_generation: Any, values: list[Any]) -> list[Any]:
    """Gathers one value per row over the tensor-parallel group of an engine, whose processes all have to request the
    rows of all.
    """
    if vllm_generation.tensor_parallel_size == 1:
        return values
    gathered: list[Any] = [None] * vllm_generation.tensor_parallel_size
    torch.distributed.all_gather_object(gathered, values, group=vllm_generation.tp_group)
    return [*chain.from_iterable(gathered)]


@contextmanager
def change_sampling_params_per_row(llm: Any, changes: Sequence[Callable[[Any], None]]) -> Iterator[None]:
    """Within the block each prompt of `llm.generate` has its own copy of the sampling parameters, changed by the
    function at the prompt's index.
    """
    generate = llm.generate

    def generate_changed(prompts: list[Any], *, sampling_params: Any, **others: Any) -> list[Any]:
        params_per_row = [copy.copy(sampling_params) for _ in changes]
        for change, params in zip(changes, params_per_row, strict=True):
            change(params)
        return generate(prompts, sampling_params=params_per_row, **others)

    with replaced(llm, "generate", generate_changed):
        yield
