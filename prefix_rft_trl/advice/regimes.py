"""Features of a probe, and the regime of the lab's map that they belong to."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from statistics import fmean, median

from .limits import LIMITS, Limits, Tells, exceeds, reaches
from .probe_result import Probed, ProbeResult, Share, pooled_share


MIDDLE = (0.25, 0.75)  # shares of a demonstration from which a policy that can follow it goes on
ALMOST_WHOLE = 0.9

IMITABLE = "can be imitated"
UNLIKE_POLICY = "helpful, but with steps that the policy would not write"
FOREIGN = "in another style, or by another ability"
NO_HELP = "in the policy's own style, and no help to it"
UNCLEAR = "of a kind that the probe cannot tell"


@dataclass(frozen=True)
class Features:
    """
    What the rules ask of a probe.

    Args:
        result ([`ProbeResult`]): of the probe.
        limits ([`Limits`]): thresholds.
    """

    result: ProbeResult
    limits: Limits = LIMITS

    @property
    def alone(self) -> Share:
        return self.result.alone.share

    @cached_property
    def middle(self) -> Share:
        """Success of continuations from a quarter to three quarters of a demonstration, all together."""
        low, high = MIDDLE
        continued = self.result.continued.items()
        return pooled_share(probed for ratio, probed in continued if low <= ratio <= high)

    @cached_property
    def end(self) -> Share:
        """Success of continuations of a demonstration that is given almost whole."""
        ratio = max(self.result.continued, default=0.0)
        return self.result.continued[ratio].share if ratio >= ALMOST_WHOLE else Share(0, 0)

    @property
    def prefixes_help(self) -> Tells:
        return exceeds(self.middle, self.alone)

    @property
    def least_end(self) -> float:
        """Success behind an almost whole demonstration from which it counts as followed to its end."""
        accepted = self.result.accepted
        return self.limits.followed * (accepted.value if accepted.of else 1.0)

    @property
    def end_is_followed(self) -> Tells:
        return reaches(self.end, self.least_end)

    @cached_property
    def likelihood(self) -> float | None:
        """Mean log-probability of demonstration tokens behind the first, in nats; `None` without any."""
        tokens, first = self.result.token_logps, self.result.first_token_logps
        rest = len(tokens) - len(first)
        return (sum(tokens) - sum(first)) / rest if rest > 0 else None

    @cached_property
    def first_likelihood(self) -> float | None:
        return fmean(self.result.first_token_logps) if self.result.first_token_logps else None

    @property
    def is_in_own_words(self) -> Tells:
        return None if self.likelihood is None else self.likelihood >= self.limits.own_words

    @cached_property
    def unlikely(self) -> Share:
        """Tokens behind the first that the policy would hardly write: those of a demonstration are alike.

        Without any, each token is a draw, as if there were a single one: some demonstrations that are wholly foreign
        could have been missed.
        """
        tokens, lengths, limit = self.result.token_logps, self.result.read_tokens, self.limits.unlikely_logp
        ends = [*accumulate(lengths)]
        rest = [tokens[end - length + 1 : end] for length, end in zip(lengths, ends, strict=True)]
        found = Probed(tuple(sum(logp < limit for logp in one) for one in rest), tuple(map(len, rest))).share
        return found if found.count else replace(found, draws=None)

    @property
    def is_followed(self) -> Tells:
        """Whether the policy could have written demonstrations to their end: by success behind them, and by tokens."""
        has_unlikely = reaches(self.unlikely, self.limits.unlikely)
        if self.end_is_followed is False or has_unlikely:
            return False
        return True if self.end_is_followed and has_unlikely is False else None

    @cached_property
    def bare(self) -> Share:
        """Answers that are too short to hold any working, by the lengths of the demonstrations."""
        lengths, demonstrations = self.result.answer_tokens, self.result.demonstration_tokens
        if not lengths or not demonstrations:
            return Share(0, 0)
        bound = self.limits.bare * median(demonstrations)
        return Share(sum(length < bound for length in lengths), len(lengths), len(self.result.alone.tries) or None)

    @property
    def regime(self) -> str:
        """The kind of demonstrations, one of the constants above."""
        if self.prefixes_help and self.is_in_own_words and self.is_followed is not None:
            return IMITABLE if self.is_followed else UNLIKE_POLICY
        if self.prefixes_help is False and self.is_in_own_words is not None:
            return NO_HELP if self.is_in_own_words else FOREIGN
        if self.is_in_own_words is False:  # whatever the interval: a text that the policy does not write
            return FOREIGN
        return UNCLEAR

    @property
    def prefixes_of_run(self) -> int | None:
        """Hybrid rollouts in the run of the recipe, one for each group with a demonstration."""
        rollouts, demonstrated = self.result.rollouts, self.result.demonstrated
        if not rollouts or not demonstrated.of or not self.result.num_generations:
            return None
        return round(rollouts / self.result.num_generations * demonstrated.value)
