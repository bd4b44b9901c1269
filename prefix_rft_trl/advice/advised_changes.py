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
PLATEAU, EVALUATIONS = 0.02, 12  # of recipes/lab-map/sft_then_rft.yaml


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
    if method == "sft_then_rft":
        yield from _of_plateau(features)


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
    """Start prefixes at the shortest that a success was seen behind."""
    shares = {ratio: probed.share for ratio, probed in sorted(features.result.continued.items()) if probed.share.of}
    low = next((ratio for ratio, share in shares.items() if share.count), 1.0)
    failing = [(ratio, share) for ratio, share in shares.items() if ratio < low]
    if not failing or low > MIDDLE[1] or features.alone.count:
        return
    ratio, share = failing[-1]
    yield SettingChange(
        "prefix_ratio_low",
        low,
        f"None of {share.of:,} continuations from {ratio:.0%} of a demonstration succeeds, and none of "
        f"{features.alone.of:,} answers without one: such prefixes carry no gradient. Behind {low:.0%} success is "
        f"{described(shares[low])}. Not tried in the lab.",
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


def _steps_of_sft(features: Features) -> int | None:
    """Of SFT with the batches, steps or epochs of the recipe."""
    result = features.result
    if result.epochs is None or not result.step_rows:
        return result.max_steps
    return math.ceil(result.epochs * result.demonstrated.count / result.step_rows)


def _steps_of_passes(features: Features) -> int | None:
    """Of SFT for the passes of the lab, where the recipe would make more."""
    steps, count, rows = _steps_of_sft(features), features.result.demonstrated.count, features.result.step_rows
    if not rows or not steps or not count:
        return None
    enough = max(LEAST_STEPS, math.ceil(PASSES * count / rows))
    return enough if enough < steps else None


def _of_passes(features: Features, setting: str) -> Iterator[SettingChange]:
    """Stop imitation after the passes of the lab, where the recipe would make more."""
    enough, steps = _steps_of_passes(features), _steps_of_sft(features)
    count, rows = features.result.demonstrated.count, features.result.step_rows
    if enough and steps and rows:
        yield SettingChange(
            setting,
            enough,
            f"{steps:,} steps of {rows:,} rows are {steps * rows / count:,.0f} passes over {count:,} demonstrations. "
            f"In the lab SFT made {PASSES:g}, and at least {LEAST_STEPS} steps.",
        )


def _of_plateau(features: Features) -> Iterator[SettingChange]:
    """Hand on the model at the plateau of the validation loss, where there are demonstrations for it."""
    split, steps = features.result.validation_split, _steps_of_passes(features) or _steps_of_sft(features)
    if split is None or not steps:
        return
    yield SettingChange(
        "sft.plateau_tolerance",
        PLATEAU,
        f"SFT hands on the earliest model whose validation loss is within {PLATEAU:.0%} of the smallest (RETU's rule, "
        "arXiv 2512.11470; recipes/lab-map/sft_then_rft.yaml).",
    )
    yield SettingChange(
        "sft.dataset_test_split", split, "Its demonstrations, which are not trained on, are the loss's."
    )
    yield SettingChange("sft.eval_strategy", "steps", "The plateau is found by the loss at some steps.")
    every = max(1, steps // EVALUATIONS)
    yield SettingChange("sft.eval_steps", every, f"About {EVALUATIONS} times in {steps:,} steps, as in the lab.")
