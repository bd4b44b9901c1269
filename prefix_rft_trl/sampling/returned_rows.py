"""Whether an engine goes on from what it was given: a row for each prompt, prefix included, in their order.

Only what follows a prompt is taken from an engine, and the prefix is put before it again, so a completion would begin
with its prefix even if the engine went on from another one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from prefix_rft_trl.utils.patching import replaced


def check_rows(given: Sequence[Sequence[int]], returned: Sequence[Sequence[int]], engine: str) -> None:
    """Compares prompts with those that an engine says that it went on from.

    Args:
        given, returned (`Sequence[Sequence[int]]`): token ids of each prompt.
        engine (`str`): as a sentence names it.

    Raises:
        RuntimeError: with the number of rows, or of those that are another prompt's.
    """
    others = [row for row, ids in enumerate(given) if row < len(returned) and list(ids) != list(returned[row])]
    if len(given) == len(returned) and not others:
        return
    found = f"{len(returned)} rows for {len(given)} prompts"
    if len(given) == len(returned):
        found = f"rows that do not go on from their prompts, {len(others)} of {len(given)} (first: row {others[0]})"
    raise RuntimeError(
        f"{engine} gave back {found}, so prefixes would be in other rollouts. Use one that keeps rows as they are, or "
        "set `num_prefix_generations=0`."
    )


def without_runs(ids: Sequence[int]) -> list[int]:
    """Token ids, those of a run of the same one once: an engine may count the tokens of an image otherwise."""
    return [token for token, _ in groupby(ids)]


@contextmanager
def rows_of_generate_checked(model: Any) -> Iterator[None]:
    """Within the block `model.generate` raises a RuntimeError if its rows are not those that it was given."""
    generate = model.generate

    def generate_and_check(*args: Any, input_ids: Any, **named: Any) -> Any:
        found = generate(*args, input_ids=input_ids, **named)
        engine = f"`generate` of {type(model).__name__}"
        check_rows(input_ids.tolist(), found[:, : input_ids.size(1)].tolist(), engine)
        return found

    with replaced(model, "generate", generate_and_check):
        yield


@contextmanager
def rows_of_vllm_checked(vllm_generation: Any) -> Iterator[None]:
    """Within the block `vllm_generation.generate` raises a RuntimeError if its rows are not those of its prompts."""
    generate = vllm_generation.generate

    def generate_and_check(*args: Any, prompts: list[list[int]], **named: Any) -> Any:
        found = generate(*args, prompts=prompts, **named)
        returned, completions = found[:2]
        known = list(map(without_runs, prompts)) if named.get("images") else prompts
        of_engine = list(map(without_runs, returned)) if returned and known is not prompts else returned
        check_rows(known, of_engine or known, "vLLM")
        if len(completions) != len(prompts):
            check_rows(prompts, completions, "vLLM")
        return found

    with replaced(vllm_generation, "generate", generate_and_check):
        yield
