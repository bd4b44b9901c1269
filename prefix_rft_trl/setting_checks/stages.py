"""Settings of stages: lists of one entry a stage, and what they can be combined with."""

import inspect
from typing import Any

from datasets import IterableDataset


NEED_STAGES = {
    "prefix_stage_thresholds": None,
    "prefix_stage_generations": None,
    "prefix_stage_replaces": "group",
    "prefix_stage_groups": "failed",
    "prefix_stage_prompts": "same",
    "prefix_stage_max_rollouts": None,
}


def check_stages(args: Any) -> None:
    """Raises a ValueError if a setting of stages has no stages, does not fit them, or would do nothing."""
    if not args.prefix_stage_ratios:
        _refuse_without_stages(args)
        return
    _check_lists(args)
    _check_generations(args)
    _check_choices(args)
    if 1 in args.prefix_stage_ratios:
        _check_whole(args)
    if args.prefix_stage_replaces == "group" and any(args.prefix_stage_ratios):
        _check_help(args)
    if args.needs_success_history and args.prefix_stage_replaces == "group":
        setting = "prefix_ratio_schedule" if args.prefix_ratio_schedule == "adaptive" else "prefix_prompts"
        raise ValueError(
            f"`{setting}='{getattr(args, setting)}'` asks how the policy has done on a problem, which the groups "
            "that `prefix_stage_replaces='group'` replaces no longer show. Remove one of them."
        )


def _check_help(args: Any) -> None:
    """Refuses what looks at the rollouts of a group that had no help, where a stage replaces all of them."""
    if args.prefix_gate is not None:
        raise ValueError(
            f"`prefix_gate` ({args.prefix_gate}) asks what a group has sampled without help, and the groups that "
            "`prefix_stage_replaces='group'` replaces no longer show it. Remove one of them."
        )
    if args.prefix_advantage == "on_policy":
        raise ValueError(
            "`prefix_advantage='on_policy'` takes the mean of the rollouts without a prefix, and in the groups that "
            "`prefix_stage_replaces='group'` replaces all have one. Set it to 'group'."
        )


def _refuse_without_stages(args: Any) -> None:
    if args.prefix_stage_ratios is not None:
        raise ValueError("`prefix_stage_ratios` is empty: give a ratio for each stage, or remove it.")
    for name, default in NEED_STAGES.items():
        if getattr(args, name) != default:
            raise ValueError(
                f"`{name}` ({getattr(args, name)}) is of stages, and there are none. Set `prefix_stage_ratios`, with "
                "a ratio for each stage, or remove it."
            )


def _check_lists(args: Any) -> None:
    stages = len(args.prefix_stage_ratios)
    for name, lowest, what in (
        ("prefix_stage_ratios", 0, "from 0 to 1"),
        ("prefix_stage_thresholds", 0, "from 0 to below 1"),
        ("prefix_stage_generations", 1, "at least 1"),
    ):
        values = getattr(args, name)
        if values is None:
            continue
        if len(values) != stages:
            raise ValueError(
                f"`{name}` has {len(values)} entries, and `prefix_stage_ratios` has {stages}. Give one for each stage."
            )
        for value in values:
            is_above = {"prefix_stage_ratios": value > 1, "prefix_stage_thresholds": value >= 1}.get(name, False)
            if not value >= lowest or is_above:
                raise ValueError(f"`{name}` must be {what} for each stage, found {value}. Change it.")


def _check_generations(args: Any) -> None:
    generations, replaces = args.prefix_stage_generations, args.prefix_stage_replaces
    whole, hybrid = args.num_generations, args.num_prefix_generations
    if replaces == "none":
        if generations is None:
            raise ValueError(
                "`prefix_stage_replaces='none'` divides the rollouts of a group over its passes, and needs "
                "`prefix_stage_generations`. TRAPO: [2, 1, 1] of 8."
            )
        first = whole - sum(generations)
        if first < max(1, hybrid):
            raise ValueError(
                f"`prefix_stage_generations` ({generations}) leaves {first} of the {whole} rollouts of a group for "
                f"the first pass, which takes {max(1, hybrid)}. Lower it, or raise `num_generations`."
            )
        return
    if replaces == "group" and generations is not None and {*generations} != {whole}:
        raise ValueError(
            f"`prefix_stage_replaces='group'` samples all {whole} rollouts of a group again, and "
            f"`prefix_stage_generations` is {generations}. Remove it, or set `prefix_stage_replaces` to 'rollout'."
        )
    if replaces == "rollout" and generations is not None and max(generations) > whole:
        raise ValueError(
            f"`prefix_stage_generations` ({generations}) has more rollouts than a group (`num_generations`, {whole}). "
            "Lower it."
        )


def _check_choices(args: Any) -> None:
    replaces, bound = args.prefix_stage_replaces, args.prefix_stage_max_rollouts
    for name, value in (("prefix_stage_prompts", "other"), ("prefix_stage_groups", "equal")):
        if getattr(args, name) == value and replaces != "group":
            raise ValueError(
                f"`{name}='{value}'` is for groups that are sampled again as a whole, and `prefix_stage_replaces` is "
                f"'{replaces}'. Set it to 'group'."
            )
    if args.prefix_stage_groups == "equal" and args.prefix_stage_thresholds is not None:
        raise ValueError(
            "`prefix_stage_thresholds` has no effect with `prefix_stage_groups='equal'`, which looks at whether "
            "rewards differ. Remove one of them."
        )
    if replaces == "none" and not any(args.prefix_stage_ratios):
        raise ValueError(
            "`prefix_stage_replaces='none'` with ratios of 0 samples a group in several passes to no effect. Set a "
            "ratio in `prefix_stage_ratios`, or remove it."
        )
    if bound is None:
        return
    if replaces == "none":
        raise ValueError(
            f"`prefix_stage_max_rollouts` ({bound}) bounds what is sampled in addition, which "
            "`prefix_stage_replaces='none'` does not do. Remove it."
        )
    least = args.num_generations if replaces == "group" else min(args.prefix_stage_generations or [1])
    if bound < least:
        raise ValueError(
            f"`prefix_stage_max_rollouts` ({bound}) is less than a group samples in a stage ({least}), so no group "
            "ever would. Raise it, or remove `prefix_stage_ratios`."
        )


def _check_whole(args: Any) -> None:
    generations = args.prefix_stage_generations or []
    whole = [number for ratio, number in zip(args.prefix_stage_ratios, generations, strict=False) if ratio == 1]
    most = max(whole, default=1)
    if most > 1 and args.prefix_stage_replaces != "group":
        raise ValueError(
            f"`prefix_stage_generations` ({generations}) has {most} rollouts in a stage of ratio 1, which would all "
            "be the same demonstration. Set it to 1 there, or lower the ratio."
        )
    if args.prefix_stage_replaces == "group":
        raise ValueError(
            "`prefix_stage_replaces='group'` with a ratio of 1 makes all rollouts of a group the same demonstration, "
            "without an advantage over itself. Lower the ratio, or set `prefix_stage_replaces` to 'rollout' or 'none'."
        )
    if args.prefix_exclude_answer:
        raise ValueError(
            "A ratio of 1 in `prefix_stage_ratios` gives demonstrations up to their end, answer included, so "
            "`prefix_exclude_answer` cannot exclude it. Lower the ratio, or remove that setting."
        )
    if args.prefix_placement == "prompt":
        raise ValueError(
            "A ratio of 1 in `prefix_stage_ratios` gives a demonstration with the end of sequence as a completion, "
            "and `prefix_placement='prompt'` puts it in the prompt. Lower the ratio, or remove that setting."
        )


_NOT_SAMPLED_AGAIN = {
    "tools": "have run when a group is judged, so that it cannot be sampled again",
    "environment_factory": "makes environments whose tools have run when a group is judged, so that it cannot be "
    "sampled again",
    "rollout_func": "takes over generation, so no group can be sampled again",
}


def refuse_arguments_of_stages(given: inspect.BoundArguments) -> None:
    """Raises a ValueError if a trainer's arguments do not allow its stages: other generation, no rows by number."""
    arguments = given.arguments
    if not getattr(arguments["args"], "prefix_stage_ratios", None):
        return
    for name, reason in _NOT_SAMPLED_AGAIN.items():
        if arguments.get(name):
            raise ValueError(f"`{name}` {reason}. Remove `{name}`, or `prefix_stage_ratios`.")
    is_streamed = isinstance(arguments.get("train_dataset"), IterableDataset)
    if is_streamed and arguments["args"].prefix_stage_prompts == "other":
        raise ValueError(
            "`prefix_stage_prompts='other'` draws rows by their number, which a streamed dataset does not have. Load "
            "the dataset without streaming, or set `prefix_stage_prompts='same'`."
        )
