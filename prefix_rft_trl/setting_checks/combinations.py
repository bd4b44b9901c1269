"""All checks of combinations of settings, in the order in which they are reported."""

from typing import Any

from prefix_rft_trl.sampling.sampler_settings import refuse_sampler_settings

from .prefix_lengths import check_prefix_lengths, check_ratio_range, check_whole_demonstrations
from .token_rules import check_token_rule


def check_combinations(args: Any) -> None:
    """Checks the settings of a [`PrefixGRPOConfig`] together; each alone has been checked.

    Raises:
        ValueError: naming the first setting that cannot be used, what was found, and the fix.
    """
    check_ratio_range(args)
    if args.padding_free and str(args.pad_to_multiple_of).lower() not in ("auto", "none", "null"):
        raise ValueError(
            "`padding_free=True` leaves out the padding that `pad_to_multiple_of` "
            f"({args.pad_to_multiple_of}) asks for. Remove one of them."
        )
    if args.uses_prefixes:
        check_prefix_lengths(args)
        refuse_sampler_settings(args)
        check_whole_demonstrations(args)
    if args.extends_grpo:
        check_token_rule(args)
