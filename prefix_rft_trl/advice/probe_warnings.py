"""Warnings about what a probe has found, whatever method is advised."""

from collections.abc import Iterator

from .limits import described, reaches
from .regimes import Features


def probe_warnings(features: Features) -> Iterator[str]:
    """Sentences that each name the figure and what to do about it."""
    yield from features.result.notes
    yield from _of_answers(features)
    yield from _of_demonstrations(features)
    yield from _of_signal(features)
    yield from _of_budget(features)


def _of_answers(features: Features) -> Iterator[str]:
    readable = features.result.readable_answers
    if readable.of and readable.count < readable.of:
        yield (
            f"The reward cannot read the right answer of {readable.of - readable.count:,} of {readable.of:,} rows. "
            "`prefix-rft data check` names them."
        )


def _of_demonstrations(features: Features) -> Iterator[str]:
    result, limits = features.result, features.limits
    accepted, demonstrated = result.accepted, result.demonstrated
    if accepted.of and reaches(accepted, limits.clean) is not True and accepted.count < accepted.of:
        yield (
            f"The reward accepts {described(accepted)} of the demonstrations. With 60% corrupted SFT alone fell from "
            "0.92 to 0.52 in the lab, and methods with a reward behind it hardly (docs/comparison.md)."
        )
    if demonstrated.count and not accepted.of:
        yield "No demonstration was scored: whether the reward accepts them is not known."
    if reaches(result.fitting, limits.fitting) is False:
        yield (
            f"{described(result.fitting)} of the demonstrations fit `max_completion_length`. Prefixes are cut from "
            "the part of the others that does; a method that takes whole demonstrations leaves them out."
        )


def _of_signal(features: Features) -> Iterator[str]:
    result, alone = features.result, features.alone
    without = result.groups_without_gradient
    if alone.of and not alone.count:
        yield f"The policy has solved nothing alone, in {alone.of:,} answers: plain RFT would see no reward."
    elif without > 0.5:
        yield f"{without:.0%} of the groups of {result.num_generations} would carry no gradient by themselves."
    bare = features.bare
    if reaches(bare, 0.5):
        yield (
            f"{described(bare)} of the answers are shorter than a quarter of a demonstration: what succeeds may be "
            "guesses, which RFT reinforces as they are."
        )
    if reaches(result.truncated, features.limits.truncated):
        yield f"The budget cuts off {described(result.truncated)} of the answers: raise `max_completion_length`."


def _of_budget(features: Features) -> Iterator[str]:
    rollouts, least = features.result.rollouts, features.limits.rollouts
    if rollouts is not None and rollouts < least:
        yield (
            f"The recipe samples {rollouts:,} rollouts, fewer than the smallest budget of the map ({least:,}): "
            "methods that need a reward may not get there."
        )
    prefixes, needed = features.prefixes_of_run, features.limits.prefixes
    if prefixes is not None and 0 < prefixes < needed:
        yield (
            f"A run of this recipe meets about {prefixes:,} groups with a demonstration. With about 80 prefixes "
            "Prefix-RFT stayed at the base model's accuracy in the lab (docs/comparison.md)."
        )
