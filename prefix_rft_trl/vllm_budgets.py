"""A budget for each row that vLLM decodes; and a server that goes away ends the run on all processes at once."""

import copy
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object

from .patching import replaced


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
        RuntimeError: on every process, when it closes, if the server could not be reached or refused a request.
    """
    within = _server_within if vllm_generation.mode == "server" else _colocated_within
    with within(vllm_generation, budgets):
        yield


@contextmanager
def _colocated_within(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    if vllm_generation.tensor_parallel_size > 1:
        of_processes: list[Any] = [None] * vllm_generation.tensor_parallel_size
        torch.distributed.all_gather_object(of_processes, budgets, group=vllm_generation.tp_group)
        budgets = [*chain.from_iterable(of_processes)]
    if min(budgets) >= vllm_generation.max_completion_length:
        yield
        return
    generate = vllm_generation.llm.generate

    def generate_within(prompts: list[Any], *, sampling_params: Any, **others: Any) -> list[Any]:
        of_rows = [_params_within(sampling_params, budget) for budget in budgets]
        return generate(prompts, sampling_params=of_rows, **others)

    with replaced(vllm_generation.llm, "generate", generate_within):
        yield


def _params_within(sampling_params: Any, budget: int) -> Any:
    params = copy.copy(sampling_params)
    settings = {"max_tokens": params.max_tokens, "min_tokens": params.min_tokens}
    for name, value in _limits(settings, budget).items():
        setattr(params, name, value)
    return params


def _limits(settings: dict[str, Any], budget: int) -> dict[str, int]:
    most = budget if settings["max_tokens"] is None else min(budget, settings["max_tokens"])
    return {"max_tokens": most, "min_tokens": min(most, settings.get("min_tokens") or 0)}


@contextmanager
def _server_within(vllm_generation: Any, budgets: list[int]) -> Iterator[None]:
    budgets = gather_object(budgets)
    failures: list[Exception] = []
    if vllm_generation.accelerator.is_main_process:  # TRL has a client there alone
        client = vllm_generation.vllm_client
        generate = client.generate
        if min(budgets) < vllm_generation.max_completion_length:
            generate = _by_budget(generate, budgets)
        with (
            replaced(client, "generate", _or_else(failures, generate, _nothing_generated)),
            replaced(client, "update_named_params", _or_else(failures, client.update_named_params, _use_up)),
            replaced(client, "reset_prefix_cache", _or_else(failures, client.reset_prefix_cache, _do_nothing)),
        ):
            yield
    else:
        yield
    message = [_what_to_do(client.base_url, failures[0]) if failures else None]
    broadcast_object_list(message, from_process=0)
    if message[0] is not None:
        vllm_generation.accelerator.wait_for_everyone()  # one that ends first would take the message from the others
        raise RuntimeError(message[0]) from (failures[0] if failures else None)


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


# The server is asked by the main process, while the others wait in TRL's broadcast of the answer. If it raised there,
# they would wait until their launcher ends them, or for half an hour. So it goes on with nothing, and all raise.


def _or_else(failures: list[Exception], call: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, until it cannot reach the server; from then on `otherwise`, with the same arguments."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if not failures:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if not _is_of_server(error):
                    raise
                failures.append(error)
        return otherwise(*args, **kwargs)

    return guarded


def _is_of_server(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error) is Exception  # of requests; TRL's, for an answer other than 200


def _nothing_generated(*, prompts: list[list[int]], n: int = 1, **others: Any) -> dict[str, Any]:
    nothing: list[list[Any]] = [[] for _ in range(n * len(prompts))]
    return {"prompt_ids": prompts, "completion_ids": nothing, "logprobs": nothing, "logprob_token_ids": nothing}


def _use_up(metadata: Any, named_params: Iterator[Any]) -> None:
    deque(named_params, maxlen=0)  # the other processes take part in gathering each parameter


def _do_nothing() -> None:
    pass


def _what_to_do(url: str, error: Exception) -> str:
    what = "no longer answers" if isinstance(error, OSError) else "could not do what it was asked for"
    return (
        f"The vLLM server at {url} {what} ({type(error).__name__}: {error}). The last whole checkpoint is kept: start "
        "the server again, then give the same command with `--resume_from_checkpoint last`."
    )
