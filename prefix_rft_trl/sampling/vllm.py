"""A budget for each row that vLLM decodes."""

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

from .vllm_server import ending_together


MOST_REQUESTS = 64  # at once: as many connections as TRL's client keeps open


@contextmanager
def vllm_within(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    """While it is open, each prompt given to `vllm_generation.generate` decodes at most as many tokens as its budget.

    Every process opens and closes it, around the weight sync too.

    Args:
        vllm_generation ([`~trl.generation.vllm_generation.VLLMGeneration`]): the trainer's engine, or its client.
        budgets (`list[int]`): tokens for each prompt of this process, at least 1. If on no process one is smaller than
            `vllm_generation.max_completion_length`, the engine is asked as TRL asks it.

    Raises:
        RuntimeError: on every process, if the server goes away (`ending_together`).
    """
    within = _server_within if vllm_generation.mode == "server" else _colocated_within
    with within(vllm_generation, budgets):
        yield


@contextmanager
def _colocated_within(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    budgets = of_engine(vllm_generation, budgets)
    if min(budgets) >= vllm_generation.max_completion_length:
        yield
        return
    with each_row_changed(vllm_generation.llm, [partial(_limit, budget=budget) for budget in budgets]):
        yield


def _limit(params: Any, budget: int) -> None:
    settings = {"max_tokens": params.max_tokens, "min_tokens": params.min_tokens}
    for name, value in _limits(settings, budget).items():
        setattr(params, name, value)


def _limits(settings: dict[str, Any], budget: int) -> dict[str, int]:
    most = budget if settings["max_tokens"] is None else min(budget, settings["max_tokens"])
    return {"max_tokens": most, "min_tokens": min(most, settings.get("min_tokens") or 0)}


@contextmanager
def _server_within(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    budgets = gather_object(budgets)
    client = vllm_generation.vllm_client if vllm_generation.accelerator.is_main_process else None  # TRL has it there
    with ExitStack() as stack:
        if client is not None and min(budgets) < vllm_generation.max_completion_length:
            stack.enter_context(replaced(client, "generate", _by_budget(client.generate, budgets)))
        stack.enter_context(ending_together(vllm_generation))
        yield


def _by_budget(generate: Callable[..., dict[str, Any]], budgets: list[int]) -> Callable[..., dict[str, Any]]:
    """`generate` of TRL's client, which sends one request for each distinct budget, all at once."""
    rows_of: dict[int, list[int]] = {}
    for row, budget in enumerate(budgets):
        rows_of.setdefault(budget, []).append(row)

    def generate_within(
        *, prompts: list[list[int]], max_tokens: int, generation_kwargs: dict[str, Any] | None = None, **others: Any
    ) -> dict[str, Any]:
        if len(prompts) != len(budgets):
            raise ValueError(
                f"{len(budgets)} rows have a budget each, but the vLLM server is asked for {len(prompts)} prompts: "
                "with budgets of their own, ask for one generation a prompt."
            )

        def ask(budget: int) -> dict[str, Any]:
            kwargs = generation_kwargs or {}
            return generate(
                prompts=[prompts[row] for row in rows_of[budget]],
                max_tokens=budget,
                generation_kwargs={**kwargs, **_limits({"max_tokens": max_tokens, **kwargs}, budget)},
                **others,
            )

        with ThreadPoolExecutor(min(len(rows_of), MOST_REQUESTS)) as pool:
            answers = list(pool.map(ask, rows_of))
        asked = [*chain.from_iterable(rows_of.values())]
        return {key: _in_order(asked, [answer[key] for answer in answers]) for key in answers[0]}

    return generate_within


def _in_order(rows: list[int], of_requests: list[list[Any] | None]) -> list[Any] | None:
    if any(of_request is None for of_request in of_requests):  # log-probs, where none are asked for
        return None
    of_rows = dict(zip(rows, chain.from_iterable(of_requests), strict=True))  # type: ignore[arg-type]
    return [of_rows[row] for row in range(len(rows))]


def of_engine(vllm_generation: Any, of_rows: list[Any]) -> list[Any]:
    """What belongs to the rows of this process, for all rows that its engine is given: those of its tensor-parallel
    group, which every process of the group has to ask for.
    """
    if vllm_generation.tensor_parallel_size == 1:
        return of_rows
    of_processes: list[Any] = [None] * vllm_generation.tensor_parallel_size
    torch.distributed.all_gather_object(of_processes, of_rows, group=vllm_generation.tp_group)
    return [*chain.from_iterable(of_processes)]


@contextmanager
def each_row_changed(llm: Any, changes: Sequence[Callable[[Any], None]]) -> Iterator[None]:
    """While it is open, each prompt of `llm.generate` has a copy of the sampling parameters, changed by its own of the
    functions.
    """
    generate = llm.generate

    def generate_changed(prompts: list[Any], *, sampling_params: Any, **others: Any) -> list[Any]:
        of_rows = [copy.copy(sampling_params) for _ in changes]
        for change, params in zip(changes, of_rows, strict=True):
            change(params)
        return generate(prompts, sampling_params=of_rows, **others)

    with replaced(llm, "generate", generate_changed):
        yield
