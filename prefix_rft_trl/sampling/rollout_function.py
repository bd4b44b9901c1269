"""Rollouts by a function of the user's own, which is handed the prefixes and serves them."""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from prefix_rft_trl.method.prefixes import Prefix
from prefix_rft_trl.method.trajectories import TurnPiece
from prefix_rft_trl.utils.patching import replaced


ARGUMENT = "prefixes"

RolloutFunction = Callable[..., dict[str, Any]]
Span = tuple[int, int]


def takes_prefixes(rollout_func: Any) -> bool:
    """Whether a rollout function has the argument `prefixes`."""
    try:
        return ARGUMENT in inspect.signature(rollout_func).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def refuse_settings_with_rollout_function(args: Any) -> None:
    """Raises a ValueError if settings of hybrid rollouts do not go with a `rollout_func`."""
    for name, (value, reason) in {
        "prefix_placement": ("prompt", "it is handed prefixes of completions, not hints"),
        "demonstration_source": ("own", "an own success is kept without what its environment has answered"),
    }.items():
        if getattr(args, name) == value:
            raise ValueError(
                f"`{name}='{value}'` cannot be combined with `rollout_func`: {reason}. Remove one of them."
            )


@dataclass(frozen=True)
class PrefixedRollouts:
    """Calls a rollout function with the prefixes of its rows, and checks that it has served them.

    For TRL it is a `rollout_func`. The function gets, besides prompts and trainer, `prefixes`: for each prompt the
    turns that its completion begins with, as [`TurnPiece`], none in an on-policy row.

    Args:
        function (`Callable`): returns a dict with `prompt_ids`, `completion_ids`, `logprobs` and, where an environment
            writes into completions, `env_mask`.
    """

    function: RolloutFunction

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        if not trainer.extends_grpo:
            return self.function(prompts, trainer, prefixes=[() for _ in prompts])
        trainer._tokenize_prompts(prompts)  # encodes the prefixes of the batch
        batch = trainer.rollout_batch
        turns = [turns_to_serve(prefix, is_first_turn=bool(trainer.tools)) for prefix in batch.prefixes]
        with samples_as_it_is_asked(trainer):
            output = self.function(prompts, trainer, prefixes=turns)
        if not {"completion_ids", "logprobs"} <= output.keys():  # of which TRL then speaks
            return output
        completions, masks = output["completion_ids"], output.get("env_mask")
        if len(completions) != len(prompts):
            raise ValueError(
                f"`rollout_func` returned {len(completions)} completions for {len(prompts)} prompts. Return one for "
                "each, in their order."
            )
        may_stop = trainer.args.prefix_tool_results == "on_policy"
        found = [
            find_turns(row, of_row, completions[row], masks[row] if masks else None, may_stop)
            for row, of_row in enumerate(turns)
        ]
        if not trainer.tools:  # whose loop serves the other turns
            batch.prefixes = [
                replace(prefix, spans=spans).served(len(ids)) if prefix.pieces else prefix
                for prefix, spans, ids in zip(batch.prefixes, found, completions, strict=True)
            ]
            batch.tool_tokens = [list(mask).count(0) for mask in masks or ()]
        if output["logprobs"] is None:
            return output
        return {**output, "logprobs": [without(*row) for row in zip(output["logprobs"], found, strict=True)]}


@contextmanager
def samples_as_it_is_asked(trainer: Any) -> Iterator[None]:
    """Within the block the trainer's own sampler adds no prefixes: a rollout function that calls it serves them."""
    with replaced(trainer, "rollout_function_runs", True):
        if trainer.use_vllm:
            yield
            return
        with replaced(trainer.generation_config, "max_new_tokens", trainer.max_completion_length):
            yield


def turns_to_serve(prefix: Prefix, is_first_turn: bool = False) -> tuple[TurnPiece, ...]:
    """The turns of a prefix, or the first of them; a demonstration of one turn has one."""
    if prefix.pieces:
        return prefix.pieces[:1] if is_first_turn else prefix.pieces
    return (TurnPiece(prefix.ids, prefix.is_complete, []),) if prefix.ids else ()


def find_turns(
    row: int, turns: Sequence[TurnPiece], ids: list[int], mask: list[int] | None, may_stop: bool = False
) -> tuple[Span, ...]:
    """Where the turns of a prefix stand in a completion, each at the beginning of a stretch of the policy's tokens.

    A completion may end before it has all of them, but not without the first.

    Args:
        row (`int`): of the batch, for the error message.
        turns (`Sequence[TurnPiece]`): of its prefix.
        ids (`list[int]`): of the completion.
        mask (`list[int]`, *optional*): 1 for tokens of the policy, 0 for those of its environment.
        may_stop (`bool`): whether the policy may go on where a further turn of the prefix would stand.

    Raises:
        ValueError: naming the row and the turn that was not served.
    """
    if mask is not None and len(mask) != len(ids):
        raise ValueError(
            f"`rollout_func` returned an `env_mask` of {len(mask)} entries for the {len(ids)} completion ids of row "
            f"{row}. Return one for each token."
        )
    if len(turns) > 1 and mask is None:
        raise ValueError(
            f"`rollout_func` returned no `env_mask`, and the prefix of row {row} has {len(turns)} turns with results "
            "of tools between them. Return 1 for tokens of the policy, those of the prefix included, and 0 for others."
        )
    starts = [0] if mask is None else stretches(mask)
    spans: list[Span] = []
    for number, turn in enumerate(turns):
        if number and (number >= len(starts)):
            break
        start = starts[number] if number else 0
        stop = start + len(turn.ids)
        served = ids[start:stop]
        is_cut = number > 0 and stop > len(ids)
        is_served = served == (turn.ids[: len(served)] if is_cut else turn.ids)
        if number and may_stop and not is_served:
            break
        if not is_served or (mask is not None and not all(mask[start:stop])):
            raise _not_served(row, number, turn, served, is_masked=is_served)
        spans.append((start, start + len(served)))
    return tuple(spans)


def stretches(mask: list[int]) -> list[int]:
    """Indices at which the stretches of 1 in a mask begin."""
    return [place for place, (before, value) in enumerate(pairwise([0, *mask])) if value and not before]


def without(logprobs: list[float], spans: Sequence[Span]) -> list[float]:
    """Log-probabilities that are NaN within spans, which TRL treats as a ratio of 1."""
    inside = {place for start, stop in spans for place in range(start, stop)}
    return [math.nan if place in inside else value for place, value in enumerate(logprobs)]


def _not_served(row: int, number: int, turn: TurnPiece, served: list[int], is_masked: bool) -> ValueError:
    if is_masked:
        return ValueError(
            f"`rollout_func` returned an `env_mask` that is 0 within the prefix of row {row} (turn {number}). Return "
            "1 for the tokens of a prefix, which are trained as such."
        )
    where = "the completion" if number == 0 else f"stretch {number} of 1 in its `env_mask`"
    same = next((place for place, pair in enumerate(zip(turn.ids, served, strict=False)) if pair[0] != pair[1]), None)
    same = min(len(served), len(turn.ids)) if same is None else same
    return ValueError(
        f"`rollout_func` did not serve the prefix of row {row}: {where} has {same} of the {len(turn.ids)} tokens of "
        f"turn {number} (`prefixes[{row}][{number}].ids`), then {served[same : same + 3]} instead of "
        f"{turn.ids[same : same + 3]}. Return completion ids that begin with them, and sample what follows."
    )
