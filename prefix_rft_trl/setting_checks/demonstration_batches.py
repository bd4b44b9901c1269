"""Settings of a second dataset of demonstrations."""

from typing import Any

from prefix_rft_trl.method.token_laws import TOKEN_LAWS


ITSELF = "per_device_demonstration_batch_size"


def check_demonstration_batches(args: Any) -> None:
    """Raises a ValueError if demonstrations in no group cannot be trained by the rule of prefix tokens."""
    size = args.per_device_demonstration_batch_size
    if not size:
        return
    if args.uses_prefixes:
        found = f"`num_prefix_generations` ({args.num_prefix_generations})"
        found = found if args.num_prefix_generations else f"`prefix_stage_ratios` ({args.prefix_stage_ratios})"
        raise ValueError(
            f"`{ITSELF}` ({size}) trains demonstrations beside the rollouts, and {found} gives rollouts a prefix: one "
            f"weight cannot mean both. Set `num_prefix_generations=0` without stages, or `{ITSELF}=0`."
        )
    if args.prefix_selection == "none":
        raise ValueError(
            f"`prefix_selection='none'` trains no token of the demonstrations of `{ITSELF}` ({size}). Set it to "
            f"another selection, or `{ITSELF}=0`."
        )
    law = TOKEN_LAWS[args.prefix_loss_type]
    if args.prefix_loss_type in ("ppo", "ppo_unclipped"):
        raise ValueError(
            f"`prefix_loss_type='{args.prefix_loss_type}'` weighs a token by its ratio to the policy that sampled the "
            f"rollout, and the demonstrations of `{ITSELF}` ({size}) belong to none. Set it to 'cross_entropy' or "
            "'chord_phi' (CHORD), or to another loss type without that ratio."
        )
    if (args.prefix_loss_normalization or law.normalization) == "loss":
        raise ValueError(
            f"`{ITSELF}` ({size}) needs a mean of its own, and `prefix_loss_normalization='loss'`, which "
            f"`prefix_loss_type='{args.prefix_loss_type}'` has here, divides by what rollouts are divided by. Set "
            "`prefix_loss_normalization` to 'tokens' or 'prompts'."
        )
    if args.max_completion_length is None or args.max_completion_length < 2:
        raise ValueError(
            f"`max_completion_length` ({args.max_completion_length}) fits no demonstration of `{ITSELF}`: it takes at "
            "least 2 tokens, one and the end of sequence. Raise it."
        )
