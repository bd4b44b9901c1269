"""Sampling parameters of their own for the rows of one call of a colocated vLLM engine."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch

from prefix_rft_trl.utils.patching import replaced


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
