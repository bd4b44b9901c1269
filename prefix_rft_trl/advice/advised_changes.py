"""Settings that a probe says to change besides those that make the method, each with its reason."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .limits import described, exceeds, reaches
from .probe_result import Share
from .regimes import MIDDLE, UNLIKE_POLICY, Features


STARTS_FROM_PREFIXES = {"prefix_rft", "uft"}
HAS_ROLLOUTS = {"grpo", "sft_then_rft", "prefix_rft", "luffy", "uft", "hpt", "pope", "trapo"}
IMITATES_FIRST = {"sft": "max_steps", "sft_then_rft": "sft.max_steps"}  # and the steps of it
ROOM = 1.25  # of the longest demonstration: the policy's own answers are longer
HIGH = 0.95  # the paper's upper bound of prefixes
PASSES, LEAST_STEPS = 7.5, 60  # of SFT in the lab


@dataclass(frozen=True)
class SettingChange:
    """A setting, its advised value and the reason."""

    setting: str
    value: Any
    reason: str


def advised_changes(features: Features, method: str | None) -> Iterator[SettingChange]:
    """The changes for a method; none without one."""
    if method in STARTS_FROM_PREFIXES:
        yield from _of_upper_bound(features)
        yield from _of_lower_bound(features)
        yield from _of_answers_in_prefixes(features)
    if method in HAS_ROLLOUTS:
        yield from _of_budget(features)
    if method in IMITATES_FIRST:
        yield from _of_passes(features, IMITATES_FIRST[method])


def _of_upper_bound(features: Features) -> Iterator[SettingChange]:
    """Cap prefixes at the longest that the policy goes on from no worse than from the best."""
    if features.regime != UNLIKE_POLICY or features.end_is_followed is not False:
        return
    continued = features.result.continued.items()
    shares = {ratio: probed.share for ratio, probed in continued if ratio <= MIDDLE[1] and probed.share.of}
    best = max(shares.values(), key=lambda share: share.value)
    high = max(ratio for ratio, share in shares.items() if not exceeds(best, share))
    yield SettingChange(
        "prefix_ratio_high",
        high,
        f"Success behind {high:.0%} of a demonstration is {described(shares[high])}, and it falls to "
        f"{described(features.end)} behind almost all of it. The probe says so; the lab's 0.82 is with the paper's "
        f"{HIGH}.",
    )


def _of_lower_bound(features: Features) -> Iterator[SettingChange]:
    """Keep prefixes long enough to be followed by a success at all."""
    low = None
    for ratio, probed in sorted(features.result.continued.items()):
        if probed.share.count or not probed.share.of:
            break
        low = ratio
    if low is None or low > MIDDLE[0] or features.alone.count:
        return
    tried = features.result.continued[low].share
    yield SettingChange(
        "prefix_ratio_low",
        low,
        f"None of {tried.of:,} continuations from {low:.0%} of a demonstration succeeds, and none of "
        f"{features.alone.of:,} answers without one: shorter prefixes would carry no gradient. Not tried in the lab.",
    )


def _of_answers_in_prefixes(features: Features) -> Iterator[SettingChange]:
    limit = features.limits.holds_answer
    holding = [
        (ratio, share) for ratio, share in sorted(features.result.answer_in_prefix.items()) if reaches(share, limit)
    ]
    if holding:
        ratio, share = holding[0]
        yield SettingChange(
            "prefix_exclude_answer",
            True,
            f"From {ratio:.0%} of a demonstration on, prefixes hold the answer: {described(share)}. Behind them a "
            "success is a copy, and rewards nothing else.",
        )


def _of_budget(features: Features) -> Iterator[SettingChange]:
    fitting: Share = features.result.fitting
    lengths = features.result.demonstration_tokens
    if reaches(fitting, features.limits.fitting) is not False or not lengths:
        return
    room = max(-(-int(ROOM * max(lengths)) // 32) * 32, 32)
    yield SettingChange(
        "max_completion_length",
        room,
        f"{described(fitting)} of the demonstrations fit the budget: an answer as long as the others would be cut "
        f"off, and fail. The longest that was probed has {max(lengths):,} tokens; memory grows with it.",
    )


def _of_passes(features: Features, setting: str) -> Iterator[SettingChange]:
    """Stop imitation after the passes of the lab, where the steps of the recipe would make more."""
    rollouts, steps, count = features.result.rollouts, features.result.max_steps, features.result.demonstrated.count
    if not rollouts or not steps or not count:
        return
    rows = rollouts / steps
    enough = max(LEAST_STEPS, math.ceil(PASSES * count / rows))
    if enough < steps:
        yield SettingChange(
            setting,
            enough,
            f"{steps:,} steps of {rows:,.0f} rows are {rollouts / count:,.0f} passes over {count:,} demonstrations. "
            f"In the lab SFT made {PASSES:g}, and at least {LEAST_STEPS} steps.",
        )
