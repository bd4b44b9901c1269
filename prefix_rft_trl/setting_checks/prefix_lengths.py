"""Settings of which rollouts start from a prefix, and how long it is."""

from typing import Any


def check_ratio_range(args: Any) -> None:
    """Raises a ValueError if no ratio, or no number of hybrid rollouts, is within the bounds."""
    if args.prefix_ratio_low > args.prefix_ratio_high:
        raise ValueError(
            f"`prefix_ratio_low` ({args.prefix_ratio_low}) is above `prefix_ratio_high` "
            f"({args.prefix_ratio_high}). Swap them."
        )
    if args.prefix_ratio_high == 0:
        raise ValueError("`prefix_ratio_high=0` gives no prefix to any rollout: set `num_prefix_generations=0`.")
    if not 0 <= args.num_prefix_generations <= args.num_generations:
        raise ValueError(
            f"`num_prefix_generations` ({args.num_prefix_generations}) must be from 0 to "
            f"`num_generations` ({args.num_generations})."
        )


def check_prefixes_are_used(args: Any) -> None:
    """Raises a ValueError if a setting says where prefixes come from or stand, and no rollout has one."""
    usual = {"demonstration_source": "dataset", "prefix_placement": "completion", "prefix_prompt_share": 1.0}
    for name, value in usual.items():
        if getattr(args, name) != value:
            raise ValueError(
                f"`{name}` ({getattr(args, name)}) is of prefixes, and no rollout has one. Set "
                "`num_prefix_generations` to at least 1, or a ratio above 0 in `prefix_stage_ratios`, or remove it."
            )


def check_prefix_lengths(args: Any) -> None:
    """Raises a ValueError if a completion has no place for a prefix, or if its law lacks what it draws from."""
    if args.max_completion_length is None or args.max_completion_length < 2:
        raise ValueError(
            f"`max_completion_length` ({args.max_completion_length}) fits no prefix: it takes at least 2 tokens, "
            "one of the demonstration and one that is sampled. Raise it, or set `num_prefix_generations=0`."
        )
    if args.prefix_ratio_distribution == "binomial" and args.prefix_ratio_schedule in ("adaptive", "whole"):
        raise ValueError(
            "`prefix_ratio_distribution='binomial'` draws slices with the lower bound of a schedule as "
            f"probability, which `prefix_ratio_schedule='{args.prefix_ratio_schedule}'` does not have. Set it to "
            "'cosine', 'linear' or 'constant'."
        )


def refuse_nothing_sampled(args: Any) -> None:
    """Raises a ValueError if all rollouts are whole demonstrations: of one turn, `SFTTrainer` trains them for less."""
    if args.gives_whole_demonstrations and args.num_prefix_generations == args.num_generations:
        raise ValueError(
            "`prefix_ratio_schedule='whole'` with `num_prefix_generations` equal to `num_generations` "
            f"({args.num_generations}) samples nothing. Lower `num_prefix_generations`, or use TRL's `SFTTrainer`."
        )


def check_whole_demonstrations(args: Any) -> None:
    """Raises a ValueError if the schedule `whole` should leave out an answer."""
    if args.gives_whole_demonstrations and args.prefix_exclude_answer:
        raise ValueError(
            "`prefix_ratio_schedule='whole'` gives demonstrations up to their end, answer included, so "
            "`prefix_exclude_answer` cannot exclude it. Remove that setting, or set `prefix_ratio_schedule` "
            "to 'cosine', 'linear', 'constant' or 'adaptive'."
        )
