"""Settings of demonstrations that are the policy's own successes."""

from typing import Any


def check_own_successes(args: Any) -> None:
    """Raises a ValueError if a setting does not go with `demonstration_source="own"`, or goes with it alone."""
    if args.demonstration_source != "own":
        if args.own_successes_start:
            raise ValueError(
                f"`own_successes_start` ({args.own_successes_start}) has no effect with "
                f"`demonstration_source='{args.demonstration_source}'`. Set it to 'own', or remove the start."
            )
        return
    if args.prefix_prompt_share == 1:
        raise ValueError(
            "`demonstration_source='own'` with `prefix_prompt_share=1` would train no new problem once the bank fills "
            "a step. Set the share below 1; ExGRPO's is 0.5."
        )
    if args.prefix_prompts == "failed":
        raise ValueError(
            "`prefix_prompts='failed'` is for problems without a success, and `demonstration_source='own'` gives "
            "prefixes to those that have one. Set `prefix_prompts='all'`."
        )
    others = {
        "prefix_placement": args.prefix_placement if args.prefix_placement != "completion" else None,
        "prefix_stage_ratios": args.prefix_stage_ratios,
        "per_device_demonstration_batch_size": args.per_device_demonstration_batch_size,
    }
    for setting, value in others.items():
        if value:
            raise ValueError(
                f"`{setting}` ({value!r}) takes demonstrations of a dataset, and `demonstration_source='own'` has "
                "none. Remove it, or set `demonstration_source='dataset'`."
            )
