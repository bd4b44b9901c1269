"""Thresholds of the advice, all in one place, and comparisons with them that can answer "the probe cannot tell"."""

import math
from dataclasses import dataclass

from .probe_result import Share


@dataclass(frozen=True)
class Limits:
    """
    Thresholds at which the advice changes, fitted to the lab's map of regimes.

    Args:
        readable (`float`): least share of right answers that the reward can read.
        accepted (`float`): least share of demonstrations that the reward accepts; the map ends at 0.46, with
            60% corrupted.
        tried (`float`): least share of accepted demonstrations that the lab has tried.
        clean (`float`): share of accepted demonstrations from which imitation alone is level with a reward behind it.
        solved (`float`): success from which nothing is left to learn.
        beyond_map (`float`): success above the map's best base model.
        skilled (`float`): success above which plain RFT has something to reinforce, where that of guesses is not
            given: a tenth above the lab's guesses.
        too_few, enough (`int`): demonstrations with which no method learns, and with which imitation does.
        covered (`float`): least share of problems with a demonstration for methods that start from prefixes.
        followed (`float`): least success behind a demonstration that is given almost whole, by the share that the
            reward accepts.
        own_words (`float`): least mean log-probability, in nats a token, of a text that the policy could have written.
        unlikely (`float`): share of tokens, each below `unlikely_logp` nats, from which demonstrations say what the
            policy would not: with 60% corrupted 0.01 of the lab's, with a step left out 0.05.
        unlikely_logp (`float`): log-probability of a token that the policy would hardly write.
        bare (`float`): length of an answer, by that of a demonstration, below which it has no working.
        holds_answer (`float`): share of prefixes with the answer at which they are cut before it.
        fitting (`float`): share of demonstrations that has to fit the budget.
        truncated (`float`): share of answers that the budget may cut off.
        rollouts (`int`): smallest budget of the map.
        prefixes (`int`): hybrid rollouts in a run below which Prefix-RFT stayed at the base model's accuracy.
    """

    readable: float = 0.9
    accepted: float = 0.25
    tried: float = 0.4
    clean: float = 0.9
    solved: float = 0.9
    beyond_map: float = 0.6
    skilled: float = 0.28
    too_few: int = 8
    enough: int = 40
    covered: float = 0.3
    followed: float = 0.5
    own_words: float = -1.5
    unlikely: float = 0.03
    unlikely_logp: float = -5.0
    bare: float = 0.25
    holds_answer: float = 0.1
    fitting: float = 0.9
    truncated: float = 0.1
    rollouts: int = 3200
    prefixes: int = 200


LIMITS = Limits()
LEAST_DIFFERENCE = 0.1  # of two shares that are not the same
Tells = bool | None  # whether something holds; `None` where the probe cannot tell


def reaches(share: Share, limit: float) -> Tells:
    """Whether a share is at least a limit, by its whole interval."""
    low, high = share.interval
    if not share.of:
        return None
    return True if low >= limit else False if high < limit else None


def exceeds(first: Share, second: Share) -> Tells:
    """Whether one share is above another, by the interval of their difference; `False` if it cannot be a tenth."""
    if not first.of or not second.of:
        return None
    low, high = difference_interval(first, second)
    return True if low > 0 else False if high < LEAST_DIFFERENCE else None


def difference_interval(first: Share, second: Share) -> tuple[float, float]:
    """The 95% interval of first - second from those of both. Source: Newcombe (1998), Stat. Med. 17, method 10."""
    difference = first.value - second.value
    (low, high), (other_low, other_high) = first.interval, second.interval
    return (
        difference - math.hypot(first.value - low, other_high - second.value),
        difference + math.hypot(high - first.value, second.value - other_low),
    )


def described(share: Share) -> str:
    """`0.20 (0.17 to 0.24, 102 of 512)`."""
    if not share.of:
        return "not measured"
    low, high = share.interval
    return f"{share.value:.2f} ({low:.2f} to {high:.2f}, {share.count:,} of {share.of:,})"
