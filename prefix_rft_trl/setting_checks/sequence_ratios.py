"""Settings under which the tokens of a rollout share one ratio, or the rollouts of a prefix one baseline."""

from typing import Any


def check_sequence_ratio(args: Any) -> None:
    """Raises a ValueError if prefix tokens would have the ratio of a sequence, which is that of sampled tokens."""
    rule = args.prefix_token_rule
    has_prefix_tokens = args.uses_prefixes and args.prefix_placement == "completion" and rule.selection != "none"
    if args.importance_sampling_level == "sequence" and rule.is_in_policy_loss and has_prefix_tokens:
        raise ValueError(
            "`importance_sampling_level='sequence'` gives a rollout one ratio, of its sampled tokens, and with "
            f"`prefix_loss_type='{args.prefix_loss_type}'` prefix tokens would be in the same loss. Give them a term "
            "of their own (`prefix_loss_type='cross_entropy'`, or another with `prefix_loss_normalization='tokens'`), "
            "or set `prefix_selection='none'`."
        )


def check_shared_baseline(args: Any) -> None:
    """Raises a ValueError if several rollouts of one prefix would have the baselines of rollouts without one."""
    if args.prefix_advantage not in ("dr_grpo_prefix", "dr_grpo_prefix_v2"):
        return
    ratios, most = args.prefix_stage_ratios or [], {"rollout": 1, "group": args.num_generations}
    in_stage = most.get(args.prefix_stage_replaces, max(args.prefix_stage_generations or [1])) if any(ratios) else 1
    if in_stage > 1 or (args.num_prefix_generations > 1 and args.prefix_shared_in_group):
        setting = f"`prefix_stage_ratios` ({ratios}) without prefixes"
        if in_stage == 1:
            setting = (
                f"`prefix_shared_in_group=False`, or `num_prefix_generations` ({args.num_prefix_generations}) to 1"
            )
        raise ValueError(
            f"`prefix_advantage='{args.prefix_advantage}'` has a continuation that is the only one of its prefix: the "
            f"authors' code compares several with each other. Set {setting}, or `prefix_advantage` to 'group' or "
            "'on_policy'."
        )
