"""Continuous batching of transformers: a budget for each row, and no row lost without a word."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel

from prefix_rft_trl.utils.patching import replaced


@contextmanager
def batching_within(model: PreTrainedModel, budgets: list[int]) -> Iterator[None]:
    """While it is open, each row of `model.generate_batch` decodes at most as many tokens as its budget, at least 1.

    Raises:
        RuntimeError: if a row could not be generated. It would be missing from the result, and the rows after it
            would take each other's places.
    """
    open_manager = model.continuous_batching_context_manager

    @contextmanager
    def with_budgets(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with open_manager(*args, **kwargs) as manager:
            add_request, number = manager.add_request, manager._request_counter
            row_of = {f"req_{number + row}": row for row in range(len(budgets))}

            def add_within_budget(input_ids: list[int], request_id: str, max_new_tokens: int, **of_request: Any):
                return add_request(
                    input_ids=input_ids,
                    request_id=request_id,
                    max_new_tokens=budgets[row_of[request_id]],
                    **of_request,
                )

            with replaced(manager, "add_request", add_within_budget):
                yield manager

    with (
        replaced(model, "continuous_batching_context_manager", with_budgets),
        replaced(model, "generate_batch", losing_none(model.generate_batch)),
    ):
        yield


def losing_none(generate_batch: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`generate_batch`, which raises a RuntimeError instead of leaving rows out."""

    def checked(inputs: list[list[int]], **settings: Any) -> dict[str, Any]:
        outputs = generate_batch(inputs, **settings)
        errors = [output.error for output in outputs.values() if output.error is not None]
        lost = len(inputs) - len(outputs) + len(errors)
        if lost:
            longest = max(map(len, inputs))
            raise RuntimeError(
                f"Continuous batching of transformers failed on {lost} of {len(inputs)} rows"
                f"{f' ({errors[0]})' if errors else ''}; the longest prompt with its prefix has {longest} tokens. "
                "Raise `num_blocks` and `max_batch_tokens` in `transformers_continuous_batching_config` (without "
                "`num_blocks` it takes most of the memory), or set `use_transformers_continuous_batching: false`."
            )
        return outputs

    return checked
