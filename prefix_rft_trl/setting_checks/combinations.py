"""All checks of combinations of settings, in the order in which they are reported."""

from typing import Any

from prefix_rft_trl.sampling.sampler_settings import refuse_sampler_settings

from .demonstration_batches import check_demonstration_batches
from .diagnostics import check_gradient_norms
from .own_successes import check_own_successes
from .placement import check_placement
from .prefix_lengths import (
    check_prefix_lengths,
    check_prefixes_are_used,
    check_ratio_range,
    check_whole_demonstrations,
)
from .sequence_ratios import check_sequence_ratio, check_shared_baseline
from .stages import check_stages
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
    check_stages(args)
    if args.uses_prefixes:
        check_prefix_lengths(args)
        refuse_sampler_settings(args)
        check_whole_demonstrations(args)
        check_placement(args)
        check_own_successes(args)
    else:
        check_prefixes_are_used(args)
    check_demonstration_batches(args)
    check_gradient_norms(args)
    if args.extends_grpo:
        check_token_rule(args)
        check_sequence_ratio(args)
        check_shared_baseline(args)
