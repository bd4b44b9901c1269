"""The plan of a generation batch: which rollouts start from which part of which demonstration."""

import math
from collections.abc import Callable
from typing import Any

from .config import PrefixGRPOConfig
from .method.demonstrations import parse_demonstrations
from .method.prefixes import ON_POLICY, WITHOUT_PREFIX, Assignment, Prefix, assign, is_hybrid, prefix_length, slice_end
from .method.schedules import adaptive_bounds, ratio_bounds
from .rewards.answers import answer_as_word, last_statement
from .run.success_history import SuccessHistory, problem_key


def plan_rollouts(
    examples: list[dict[str, Any]],
    args: PrefixGRPOConfig,
    memory: SuccessHistory,
    step: int,
    max_steps: int,
    first_row: int,
    rows_before: int,
) -> list[Assignment]:
    """Assigns each rollout of a process its demonstration and ratio, or none.

    Args:
        examples (`list[dict]`): a dataset row a rollout.
        args, memory: the settings, and what is known of the problems.
        step, max_steps (`int`): optimizer steps done so far, and of the whole run.
        first_row (`int`): place of the first rollout among those of all processes.
        rows_before (`int`): rollouts that were generated in this step before, over all processes.
    """
    bounds = scheduled_bounds(args, step, max_steps)
    assignments = []
    for row, example in enumerate(examples, first_row):
        if not is_hybrid(row, args.num_generations, args.num_prefix_generations):
            assignments.append(ON_POLICY)
            continue
        of_problem = bounds_of_problem(example["prompt"], bounds, args, memory)
        if of_problem is None:
            assignments.append(WITHOUT_PREFIX)
            continue
        column = args.demonstration_column
        found = parse_demonstrations(example.get(column), f"with the prompt {example['prompt']!r:.80}", column)
        drawn_for = row - row % args.num_generations if args.prefix_shared_in_group else row
        key = (args.seed, step, rows_before + drawn_for)
        answer = example.get(args.answer_column) if args.answer_column else None
        assignments.append(assign(found, key, of_problem, args.prefix_ratio_distribution, answer))
    return assignments


def scheduled_bounds(args: PrefixGRPOConfig, step: int, max_steps: int) -> tuple[float, float]:
    """The two ends of the prefix ratio at a step, before anything that a problem's own success makes of them."""
    if args.gives_whole_demonstrations:
        return 1.0, 1.0
    decay_steps = args.prefix_ratio_decay_steps or max_steps
    if args.prefix_ratio_distribution == "binomial" and step >= decay_steps:
        return 0.0, 0.0  # UFT: no hints after the decay
    return ratio_bounds(
        args.prefix_ratio_schedule, step, decay_steps, low=args.prefix_ratio_low, high=args.prefix_ratio_high
    )


def bounds_of_problem(
    prompt: Any, bounds: tuple[float, float], args: PrefixGRPOConfig, memory: SuccessHistory
) -> tuple[float, float] | None:
    """The bounds for one problem; `None` where it gets no prefix."""
    if args.prefix_prompts == "failed" and not memory.has_failed(problem_key(prompt)):
        return None
    if args.prefix_ratio_schedule == "adaptive":
        return adaptive_bounds(memory.success_rate(problem_key(prompt)), args.prefix_ratio_low, args.prefix_ratio_high)
    return bounds


def prefix_of(
    ids: list[int],
    assignment: Assignment,
    args: PrefixGRPOConfig,
    eos_token_id: int,
    decode: Callable[[list[int]], str],
) -> Prefix:
    """What a rollout is given of its demonstration.

    Args:
        ids (`list[int]`): of the demonstration.
        assignment (`Assignment`): the share that is given, and the right answer.
        args: the settings.
        eos_token_id (`int`): of the policy's tokenizer.
        decode (`Callable`): from ids to their text, special tokens included.
    """
    drawn = cut(ids, assignment.ratio, args, eos_token_id, decode)
    if not drawn:
        return Prefix(drawn)
    statement = last_statement(decode(ids), assignment.answer)
    if statement is None:
        return Prefix(drawn, states_answer=math.nan if answer_as_word(assignment.answer) is None else 0.0)
    reaches_into_it = len(decode(drawn)) > statement
    if reaches_into_it and args.prefix_exclude_answer:
        return Prefix(drawn[: tokens_within(drawn, statement, decode)], states_answer=0.0)
    return Prefix(drawn, float(reaches_into_it))


def cut(
    ids: list[int], ratio: float, args: PrefixGRPOConfig, eos_token_id: int, decode: Callable[[list[int]], str]
) -> list[int]:
    """The prefix of a demonstration's ids; with the schedule `whole` all of them and the end of sequence.

    What does not fit the completion budget whole is none then: cut off, it would be scored as a wrong answer.
    """
    assert args.max_completion_length is not None
    if args.gives_whole_demonstrations:
        return [*ids, eos_token_id] if len(ids) < args.max_completion_length else []
    if args.prefix_ratio_distribution == "binomial":
        length = tokens_within(ids, slice_end(decode(ids), ratio), decode)
        return ids[: min(length, len(ids) - 1, args.max_completion_length - 1)]
    return ids[: prefix_length(ratio, len(ids), args.max_completion_length)]


def tokens_within(ids: list[int], characters: int, decode: Callable[[list[int]], str]) -> int:
    """Number of leading ids whose text has at most so many characters."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(decode(ids[:middle])) <= characters else (low, middle - 1)
    return low
