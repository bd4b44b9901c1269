"""How often demonstrations of several turns give a prefix, over the ratios that a run draws."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate.logging import get_logger

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.method.prefixes import Assignment
from prefix_rft_trl.method.trajectories import Trajectory, TurnTokens
from prefix_rft_trl.rollouts import highest_ratio

from .trajectory_cuts import cut_trajectory


logger = get_logger(__name__)

_RATIOS = 10  # that stand for all of a range
_FEW = 0.5


def prefix_share(
    turns: list[TurnTokens], trajectory: Trajectory, answer: object, args: PrefixGRPOConfig, tokenizer: Any
) -> float:
    """The share of ratios, evenly from `prefix_ratio_low` to the highest, at which a demonstration has a prefix.

    Args:
        turns (`list[TurnTokens]`): of the demonstration.
        trajectory (`Trajectory`): the demonstration.
        answer: the correct answer, as in the dataset row.
        args: the settings.
        tokenizer: of the policy.
    """
    results = [turn.result_texts for turn in trajectory.turns]
    if args.gives_whole_demonstrations:
        drawn = [Assignment(True, ratio=1.0, answer=answer, is_whole=True)]
    else:
        ratios = np.linspace(args.prefix_ratio_low, highest_ratio(args), _RATIOS)
        drawn = [Assignment(True, ratio=float(ratio), answer=answer) for ratio in ratios]
    given = [bool(cut_trajectory(turns, results, each, args, tokenizer).ids) for each in drawn]
    return sum(given) / len(given)


def refuse_no_prefixes(shares: Sequence[float], args: PrefixGRPOConfig) -> None:
    """Warns if most ratios give no prefix of a sample of demonstrations.

    Args:
        shares (`Sequence[float]`): of each demonstration, from [`prefix_share`].
        args: the settings.

    Raises:
        ValueError: if none does of any, so that all rollouts would be on-policy.
    """
    if not shares:
        return
    law = (
        f"`prefix_ratio_low={args.prefix_ratio_low}`, `prefix_ratio_high={args.prefix_ratio_high}`, "
        f"`prefix_unit={args.prefix_unit!r}`, `max_completion_length={args.max_completion_length}`"
    )
    whole = " A cut within the calls of a turn moves to their beginning." if args.prefix_unit == "token" else ""
    if not any(shares):
        raise ValueError(
            f"None of the {len(shares)} demonstrations that were encoded gives a prefix, and all rollouts would be "
            f"on-policy: {law}.{whole} Raise the ratios or the budget, or set `num_prefix_generations=0`."
        )
    if (share := sum(shares) / len(shares)) < _FEW:
        logger.warning(
            f"Only {share:.0%} of the ratios from `prefix_ratio_low` to `prefix_ratio_high` give a prefix of the "
            f"{len(shares)} demonstrations that were encoded; rollouts with the others are on-policy: {law}.{whole} "
            "`prefix/demonstration_share` has the share of each step."
        )
