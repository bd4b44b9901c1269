"""A generation batch: which rollouts are hybrid, from which demonstration, their prefixes and their rewards."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from transformers import TrainerState

from .config import PrefixGRPOConfig
from .method.demonstrations import parse_demonstrations
from .method.prefixes import (
    LEFT_ON_POLICY,
    NO_PREFIX,
    ON_POLICY,
    Assignment,
    Decode,
    Prefix,
    assign,
    exclude_answer,
    is_guided,
    is_hybrid,
    prefix_length,
    slices_length,
)
from .method.replay import OwnSuccess
from .method.schedules import adaptive_bounds, ratio_bounds
from .method.trajectories import has_turns, parse_trajectory
from .rewards.answers import answer_as_word, last_statement
from .run.success_history import SuccessHistory, problem_key


# From examples, which it replaces in place, and the seeds of the groups that may be replaced, to each one's success
Replay = Callable[[list[dict[str, Any]], dict[int, tuple[int, int, int]]], list[OwnSuccess | None]]


@dataclass
class RolloutBatch:
    """The rollouts of one process in one generation batch, filled in as they are planned, generated and scored.

    Attributes:
        assignments (`list[Assignment]`): demonstration and ratio of each rollout.
        step (`int`): optimizer steps done when it was planned; -1 in evaluation.
        index (`int`): generation batches planned earlier in the same step.
        ratio_bounds (`tuple[float, float]`): bounds of the prefix ratio at that step; NaN if none is drawn.
        padding (`int`): rollouts at the end that are there for collective calls alone, and are dropped.
        prefixes (`list[Prefix]`): what each rollout starts from; set when prompts are tokenized. After a tool loop
            they have what was served.
        tool_tokens (`list[int]`): tokens of each completion that are results of tools; set by a tool loop.
        rewards (`torch.Tensor`): shape (rollouts of all processes,), NaN where no function gave one; set when scored.
    """

    assignments: list[Assignment]
    step: int = -1
    index: int = 0
    ratio_bounds: tuple[float, float] = (0.0, 0.0)
    padding: int = 0
    prefixes: list[Prefix] = field(default_factory=list)
    tool_tokens: list[int] = field(default_factory=list)
    rewards: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    @classmethod
    def on_policy(cls, rollouts: int) -> "RolloutBatch":
        """A batch without any prefix, as in evaluation."""
        return cls([ON_POLICY] * rollouts)

    @property
    def prefix_ids(self) -> list[list[int]]:
        return [prefix.ids for prefix in self.prefixes]

    def hybrid(self, device: torch.device) -> torch.Tensor:
        """Rollouts that got a prefix or a hint, boolean, shape (rollouts,)."""
        return torch.tensor([bool(ids) for ids in self.given_ids], device=device)

    def sampled_prompts(self, prompts: list[Any]) -> list[Any]:
        """The prompts with the hints of their rollouts."""
        rows = zip(prompts, self.prefixes, strict=True)
        return [prompt if prefix.hint is None else prefix.hint.prompt for prompt, prefix in rows]

    @property
    def given_ids(self) -> list[list[int]]:
        """What each rollout gets of a demonstration, in its completion or in its prompt; nothing if it is plain."""
        return [prefix.given_ids for prefix in self.prefixes]

    @property
    def first_ids(self) -> list[list[int]]:
        """What the completion of each rollout starts with."""
        return [prefix.first_ids for prefix in self.prefixes]

    @property
    def spans(self) -> list[tuple[tuple[int, int], ...]]:
        """Where the tokens of demonstrations stand in each completion, from and up to."""
        return [prefix.token_spans for prefix in self.prefixes]

    def last_message_ids(self, completions: list[Any]) -> list[list[int]]:
        """Tokens of prefixes in the last message of each completion; nothing of hints, which stand in prompts."""
        return [
            prefix.last_turn_ids(completion) for prefix, completion in zip(self.prefixes, completions, strict=True)
        ]

    @property
    def complete(self) -> list[bool]:
        """Whether nothing is sampled after the prefix of a rollout."""
        return [prefix.is_complete for prefix in self.prefixes]

    def prefix_lengths(self, device: torch.device) -> torch.Tensor:
        """Prefix lengths in tokens, shape (rollouts,)."""
        return torch.tensor([len(prefix.ids) for prefix in self.prefixes], device=device)

    def check_completions(self, completion_ids: list[list[int]]) -> None:
        """Checks that each completion has the prefix of its rollout, at its start or in the turns of a trajectory.

        Raises:
            RuntimeError: with what was found in the first that has not.
        """
        rows = zip(self.spans, completion_ids, strict=True)
        found = [[token for start, stop in spans for token in ids[start:stop]] for spans, ids in rows]
        lost = [row for row, prefix in enumerate(self.prefixes) if found[row] != prefix.ids]
        if lost:
            row = lost[0]
            prefix, ids = self.prefixes[row].ids, found[row]
            same = next((i for i, pair in enumerate(zip(prefix, ids, strict=False)) if pair[0] != pair[1]), len(ids))
            raise RuntimeError(
                f"{len(lost)} of {sum(map(bool, self.prefix_ids))} hybrid rollouts do not begin with their prefix: "
                f"rollout {row} has {same} of its {len(prefix)} tokens, then {ids[same : same + 3]} instead of "
                f"{prefix[same : same + 3]}. The sampler ignores prompts or logits processors, or changes rows: use "
                "the model's own `generate`, vLLM or continuous batching, or set `num_prefix_generations=0`."
            )


def plan_batch(
    examples: list[dict[str, Any]],
    args: PrefixGRPOConfig,
    history: SuccessHistory,
    state: TrainerState,
    accelerator: Accelerator,
    previous: RolloutBatch,
    replay: Replay | None = None,
) -> RolloutBatch:
    """Plans the rollouts of one process.

    Args:
        examples (`list[dict]`): one dataset row per rollout.
        args, history: settings, and the success of each problem so far.
        state, accelerator: step of the run, and this process among all.
        previous (`RolloutBatch`): the batch planned before, so that a second one in the same step draws anew.
        replay (`Callable`, *optional*): replaces examples by problems that were solved before, and gives the success
            of each rollout (`run.replaying`).
    """
    step = state.global_step
    index = previous.index + 1 if previous.step == step else 0
    bounds = scheduled_bounds(args, step, state.max_steps) if args.num_prefix_generations else (math.nan, math.nan)
    rows = accelerator.num_processes * len(examples)
    successes = replay(examples, guided_groups(args, step, index * rows, rows)) if replay else None
    assignments = plan_rollouts(
        examples,
        args,
        history,
        step,
        bounds,
        first_row=accelerator.process_index * len(examples),
        rows_before=index * rows,
        successes=successes,
    )
    return RolloutBatch(assignments, step, index, bounds)


def plan_rollouts(
    examples: list[dict[str, Any]],
    args: PrefixGRPOConfig,
    history: SuccessHistory,
    step: int,
    bounds: tuple[float, float],
    first_row: int,
    rows_before: int,
    successes: list[OwnSuccess | None] | None = None,
) -> list[Assignment]:
    """Draws a demonstration and a ratio for each hybrid rollout.

    Args:
        examples (`list[dict]`): one dataset row per rollout.
        args, history: settings, and the success of each problem so far.
        step (`int`): optimizer steps done so far.
        bounds (`tuple[float, float]`): bounds of the prefix ratio at this step.
        first_row (`int`): index of the first rollout among those of all processes.
        rows_before (`int`): rollouts generated earlier in this step, over all processes.
        successes (`list[OwnSuccess | None]`, *optional*): of each rollout, with `demonstration_source="own"`.
    """
    assignments = []
    for row, example in enumerate(examples, first_row):
        group = groups_before(step, args) + (rows_before + row) // args.num_generations
        is_planned = is_hybrid(row, args.num_generations, args.num_prefix_generations)
        if not (is_planned and is_guided(group, args.prefix_prompt_share)):
            assignments.append(ON_POLICY)
            continue
        problem_bounds = bounds_of_problem(example["prompt"], bounds, args, history)
        if problem_bounds is None:
            assignments.append(LEFT_ON_POLICY)
            continue
        found: list[Any]
        if args.demonstration_source == "own":
            found = [success] if successes and (success := successes[row - first_row]) else []
        else:
            found = demonstrations_of(example, args)
        seed_row = row - row % args.num_generations if args.prefix_shared_in_group else row
        key = (args.seed, step, rows_before + seed_row)
        answer = example.get(args.answer_column) if args.answer_column else None
        law = problem_bounds, args.prefix_ratio_distribution
        assignments.append(assign(found, key, *law, answer, args.gives_whole_demonstrations))
    return assignments


def groups_before(step: int, args: PrefixGRPOConfig) -> int:
    """Groups of all processes that were generated before the first generation batch of a step."""
    passes_of_batch = args.steps_per_generation * args.num_iterations
    batches = -(-step * args.gradient_accumulation_steps // passes_of_batch)
    return batches * (args.generation_batch_size // args.num_generations)


def guided_groups(args: PrefixGRPOConfig, step: int, rows_before: int, rows: int) -> dict[int, tuple[int, int, int]]:
    """Groups of a generation batch that get demonstrations: from the index of each to what seeds its draw.

    Args:
        args: the settings.
        step (`int`): optimizer steps done so far.
        rows_before (`int`): rollouts generated earlier in this step, over all processes.
        rows (`int`): rollouts of the batch, over all processes.
    """
    earlier, of_step = groups_before(step, args), rows_before // args.num_generations
    return {
        group: (args.seed, step, of_step + group)
        for group in range(rows // args.num_generations)
        if is_guided(earlier + of_step + group, args.prefix_prompt_share)
    }


def demonstrations_of(example: dict[str, Any], args: PrefixGRPOConfig) -> list[Any]:
    """The demonstrations of a dataset row."""
    column = args.demonstration_column
    return read_demonstrations(example.get(column), f"with the prompt {example['prompt']!r:.80}", column)


def read_demonstrations(value: Any, row: int | str = "?", column: str = "completion") -> list[Any]:
    """The demonstrations of a value of the dataset: messages, or [`Trajectory`] where one has several turns.

    Raises:
        ValueError: naming the row and what was found.
    """
    candidates = value if isinstance(value, list) and not has_turns(value) else [value]
    if not any(map(has_turns, candidates)):
        return parse_demonstrations(value, row, column)
    return [
        found
        for item in candidates
        for found in (
            [parse_trajectory(item, row, column)] if has_turns(item) else parse_demonstrations(item, row, column)
        )
    ]


def scheduled_bounds(args: PrefixGRPOConfig, step: int, max_steps: int) -> tuple[float, float]:
    """Bounds of the prefix ratio at a step, before the success rate of a problem changes them."""
    if args.gives_whole_demonstrations:
        return 1.0, 1.0
    decay_steps = args.prefix_ratio_decay_steps or max_steps
    if args.prefix_ratio_distribution == "binomial" and step >= decay_steps:
        return 0.0, 0.0  # UFT: no hints after the decay
    return ratio_bounds(
        args.prefix_ratio_schedule, step, decay_steps, low=args.prefix_ratio_low, high=args.prefix_ratio_high
    )


def bounds_of_problem(
    prompt: Any, bounds: tuple[float, float], args: PrefixGRPOConfig, history: SuccessHistory
) -> tuple[float, float] | None:
    """Bounds of the prefix ratio for one problem; `None` where it gets no prefix."""
    if args.prefix_prompts == "failed" and not history.has_failed(problem_key(prompt)):
        return None
    if args.prefix_ratio_schedule == "adaptive":
        success_rate = history.success_rate(problem_key(prompt))
        return adaptive_bounds(success_rate, args.prefix_ratio_low, args.prefix_ratio_high)
    return bounds


def cut_prefix(
    ids: list[int], assignment: Assignment, args: PrefixGRPOConfig, eos_token_id: int, decode: Decode
) -> Prefix:
    """Cuts the prefix of a rollout from its demonstration.

    Args:
        ids (`list[int]`): of the demonstration.
        assignment (`Assignment`): the prefix ratio, the key of its draws, and the correct answer.
        args: the settings.
        eos_token_id (`int`): of the policy's tokenizer.
        decode (`Callable`): from ids to text, special tokens included.
    """
    drawn = cut_demonstration(ids, assignment, args, eos_token_id, decode)
    if not drawn:
        return NO_PREFIX
    states_answer = math.nan if answer_as_word(assignment.answer) is None else 0.0
    answer_start = last_statement(decode(ids), assignment.answer)
    if answer_start is not None:
        states_answer = float(len(decode(drawn)) > answer_start)
        if states_answer and args.prefix_exclude_answer:
            drawn, states_answer = exclude_answer(drawn, answer_start, decode), 0.0
    return Prefix(drawn, states_answer, min(len(drawn) / len(ids), 1.0), len(ids), is_complete=assignment.is_whole)


def cut_success(success: OwnSuccess, assignment: Assignment, args: PrefixGRPOConfig, decode: Decode) -> Prefix:
    """Cuts the prefix of a rollout from an own success; its end of sequence is part of the whole alone."""
    *ids, end = success.ids.tolist()
    return cut_prefix(ids, assignment, args, end, decode)


def longest_prefix(
    args: PrefixGRPOConfig, eos_token_id: int, decode: Decode, ids: list[int], answer: object
) -> list[int]:
    """The prefix of a demonstration at the highest ratio; empty if it has none at any."""
    is_whole = args.gives_whole_demonstrations and not any(args.prefix_stage_ratios or [])
    assignment = Assignment(True, ratio=highest_ratio(args), answer=answer, is_whole=is_whole)
    return cut_prefix(ids, assignment, args, eos_token_id, decode).ids


def highest_ratio(args: PrefixGRPOConfig) -> float:
    """The highest prefix ratio that a rollout of a run may draw, in a stage or before."""
    is_of_schedule = args.prefix_ratio_distribution == "uniform" and not args.gives_whole_demonstrations
    drawn = [args.prefix_ratio_high if is_of_schedule else 1.0] if args.num_prefix_generations else []
    return max([*drawn, *(args.prefix_stage_ratios or [])], default=0.0)


def cut_demonstration(
    ids: list[int], assignment: Assignment, args: PrefixGRPOConfig, eos_token_id: int, decode: Decode
) -> list[int]:
    """The first tokens of a demonstration, or all of them and the end of sequence.

    A whole demonstration that does not fit the completion budget is left out, since a truncated one would be scored
    as a wrong answer. A hint takes nothing of that budget.
    """
    assert args.max_completion_length is not None
    budget = args.max_completion_length if args.prefix_placement == "completion" else len(ids) + 1
    if assignment.is_whole:
        return [*ids, eos_token_id] if 0 < len(ids) < budget else []
    if assignment.in_slices:
        return ids[: slices_length(assignment.ratio, ids, budget, decode, assignment.key)]
    return ids[: prefix_length(assignment.ratio, len(ids), budget)]
