"""Settings of the weights of prefix tokens: their law, its coefficient and denominator, the gate, the advantage."""

from typing import Any

from prefix_rft_trl.method.token_laws import TOKEN_LAWS


def check_token_rule(args: Any) -> None:
    """Raises a ValueError if a weight of prefix tokens is not defined, or would not be what its name says."""
    check_advantage(args)
    check_law(args)
    check_coefficient(args)
    check_gate(args)


def check_advantage(args: Any) -> None:
    if args.prefix_advantage == "dr_grpo_prefix_v2" and args.num_prefix_generations == args.num_generations:
        raise ValueError(
            "`prefix_advantage='dr_grpo_prefix_v2'` learns nothing when all rollouts of a group are hybrid: its "
            f"advantages are all 0. Set `num_prefix_generations` ({args.num_prefix_generations}) below "
            f"`num_generations` ({args.num_generations}), or another `prefix_advantage`."
        )
    is_scaled = args.scale_rewards not in ("none", False)
    if args.prefix_advantage != "group" and (is_scaled or args.multi_objective_aggregation != "sum_then_normalize"):
        raise ValueError(
            f"`prefix_advantage='{args.prefix_advantage}'` is reward minus a baseline, without any scaling: it "
            "needs `scale_rewards='none'` and `multi_objective_aggregation='sum_then_normalize'`, found "
            f"{args.scale_rewards!r} and {args.multi_objective_aggregation!r}."
        )


def check_law(args: Any) -> None:
    law, name = TOKEN_LAWS[args.prefix_loss_type], args.prefix_loss_type
    if args.prefix_top_entropy_quantile == 0:
        raise ValueError("`prefix_top_entropy_quantile=0` trains no prefix token: set `prefix_selection='none'`.")
    is_selected = args.prefix_selection != "none"
    if law.quantile is None and args.prefix_top_entropy_quantile is None and is_selected:
        raise ValueError(
            f"`prefix_loss_type='{name}'` needs `prefix_top_entropy_quantile`: its method trains all tokens of a "
            "demonstration, which is 1.0, and the paper of Prefix-RFT trains 0.2 of them."
        )
    if law.keeps_ratio and args.prefix_loss_normalization not in (None, "loss"):
        raise ValueError(
            f"`prefix_loss_type='{name}'` leaves prefix tokens to `loss_type`, so they are divided by what that "
            f"divides by, not by `prefix_loss_normalization='{args.prefix_loss_normalization}'`. Remove it, or set "
            "`prefix_loss_type='ppo_unclipped'`."
        )
    in_policy_loss = (args.prefix_loss_normalization or law.normalization) == "loss"
    if in_policy_loss and not law.keeps_ratio and args.loss_type in ("cispo", "vespo"):
        raise ValueError(
            f"`prefix_loss_type='{name}'` gives each prefix token its own weight, but "
            f"`loss_type='{args.loss_type}'` multiplies it by another one. Set `prefix_loss_type='ppo'`, which leaves "
            "prefix tokens to the loss, or another loss, such as `loss_type='dr_grpo'`."
        )


def check_coefficient(args: Any) -> None:
    law, name, schedule = TOKEN_LAWS[args.prefix_loss_type], args.prefix_loss_type, args.prefix_loss_coef_schedule
    if law.coef is None and args.prefix_loss_coef is None:
        raise ValueError(
            f"`prefix_loss_type='{name}'` needs `prefix_loss_coef`, the weight of demonstrations against rollouts. "
            "CHORD: 0.1 with `chord_phi`; TRAPO: 1 with `trust_region` and `prefix_loss_normalization='loss'`."
        )
    if schedule == "constant":
        for setting in ("prefix_loss_coef_end", "prefix_loss_coef_decay_steps"):
            if getattr(args, setting) is not None:
                raise ValueError(
                    f"`{setting}` ({getattr(args, setting)}) has no effect with "
                    "`prefix_loss_coef_schedule='constant'`. Remove it, or set the schedule to 'linear' or 'cosine'."
                )
    coefficient = args.prefix_token_rule.coefficient
    if args.prefix_loss_convex and (highest := max(coefficient.peak, coefficient.end)) > 1:
        raise ValueError(
            f"`prefix_loss_convex=True` gives sampled tokens 1 minus the coefficient, which reaches {highest}. Set "
            "`prefix_loss_coef` and `prefix_loss_coef_end` to at most 1."
        )


def check_gate(args: Any) -> None:
    if args.prefix_gate_drops_rollouts and args.prefix_gate is None:
        raise ValueError(
            "`prefix_gate_drops_rollouts=True` leaves out rollouts where a gate is open, and there is none. Set "
            "`prefix_gate`; HPT's is 0."
        )
    if args.prefix_gate is not None and args.num_prefix_generations == args.num_generations:
        raise ValueError(
            f"`prefix_gate` ({args.prefix_gate}) looks at the on-policy rollouts of a group, and all "
            f"{args.num_generations} are hybrid. Set `num_prefix_generations` below `num_generations`, or remove it."
        )
    if args.prefix_gate is not None and not args.uses_prefixes:
        raise ValueError(
            f"`prefix_gate` ({args.prefix_gate}) is for hybrid rollouts, and no rollout is. Set "
            "`num_prefix_generations` to at least 1, or remove it."
        )
