"""Continuous batching of transformers with a token budget for each row, and an error for rows that it drops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel

from prefix_rft_trl.utils.patching import replaced

from .returned_rows import check_rows


@contextmanager
def limit_new_tokens_per_row(model: PreTrainedModel, budgets: list[int]) -> Iterator[None]:
    """Within the block each row of `model.generate_batch` decodes at most its budget of tokens, at least 1.

    Raises:
        RuntimeError: if a row could not be generated. It would be missing from the result, and later results would be
            assigned to the wrong rows.
    """
    model = getattr(model.generate_batch, "__self__", model)  # behind `torch.compile` and PEFT, which forward to it
    open_manager = model.continuous_batching_context_manager

    @contextmanager
    def open_with_budgets(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with open_manager(*args, **kwargs) as manager:
            add_request, number = manager.add_request, manager._request_counter
            rows = {f"req_{number + row}": row for row in range(len(budgets))}

            def add_with_budget(input_ids: list[int], request_id: str, max_new_tokens: int, **settings: Any):
                return add_request(
                    input_ids=input_ids, request_id=request_id, max_new_tokens=budgets[rows[request_id]], **settings
                )

            with replaced(manager, "add_request", add_with_budget):
                yield manager

    with (
        replaced(model, "continuous_batching_context_manager", open_with_budgets),
        replaced(model, "generate_batch", refuse_missing_rows(model.generate_batch)),
    ):
        yield


def refuse_missing_rows(generate_batch: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Wraps `generate_batch`, which drops rows that fail, so that it raises a RuntimeError instead."""

    def checked(inputs: list[list[int]], **settings: Any) -> dict[str, Any]:
        outputs = generate_batch(inputs, **settings)
        errors = [output.error for output in outputs.values() if output.error is not None]
        missing = len(inputs) - len(outputs) + len(errors)
        if missing:
            longest = max(map(len, inputs))
            raise RuntimeError(
                f"Continuous batching of transformers failed on {missing} of {len(inputs)} rows"
                f"{f' ({errors[0]})' if errors else ''}; the longest prompt with its prefix has {longest} tokens. "
                "Raise `num_blocks` and `max_batch_tokens` in `transformers_continuous_batching_config` (without "
                "`num_blocks` it takes most of the memory), or set `use_transformers_continuous_batching: false`."
            )
        check_rows(inputs, [output.prompt_ids for output in outputs.values()], "Continuous batching of transformers")
        return outputs

    return checked
