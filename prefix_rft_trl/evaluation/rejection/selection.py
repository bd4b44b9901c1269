"""Choose the demonstrations of a problem among the sampled answers to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefix_rft_trl.evaluation.samples import LikelySample


DECIMALS = 4  # of log-probabilities, so that rounding errors of a computation do not decide an order

ORDERS: dict[str, Callable[[LikelySample], float]] = {  # the smallest first
    "shortest": lambda sample: sample.tokens,
    "most_likely": lambda sample: -round(sample.log_probability, DECIMALS),
}


@dataclass(frozen=True)
class Selection:
    """
    Which answers become demonstrations.

    Args:
        keep (`int`, *optional*, defaults to 1): most demonstrations of a problem.
        order (`str`, *optional*, defaults to `"shortest"`): which of the accepted answers come first: `shortest`, in
            tokens, or `most_likely`, by the mean log-probability of their tokens; among equals the one sampled first.
        min_reward (`float`, *optional*, defaults to 1.0): lowest reward of an accepted answer.
        all (`bool`, *optional*, defaults to `False`): also write problems without an accepted answer, which train as
            in plain GRPO.

    Raises:
        ValueError: for an order that does not exist, or a number below 1.
    """

    keep: int = 1
    order: str = "shortest"
    min_reward: float = 1.0
    all: bool = False

    def __post_init__(self):
        if self.keep < 1:
            raise ValueError(f"`keep` is at least 1, found {self.keep}.")
        if self.order not in ORDERS:
            raise ValueError(f"`order` is {' or '.join(ORDERS)}, found {self.order!r}.")

    def is_right(self, sample: LikelySample) -> bool:
        """Whether the reward accepts an answer."""
        return sample.reward is not None and sample.reward >= self.min_reward and bool(sample.text.strip())

    def accepted(self, samples: Sequence[LikelySample]) -> list[LikelySample]:
        """The right answers that have ended: one that is cut off would teach to stop in the middle."""
        return [sample for sample in samples if self.is_right(sample) and not sample.is_truncated]

    def demonstrations(self, samples: Sequence[LikelySample]) -> list[LikelySample]:
        """Of the answers to a problem those to keep, in order, each text once."""
        rank = ORDERS[self.order]
        ranked = sorted(self.accepted(samples), key=lambda sample: (rank(sample), sample.sample))
        by_text: dict[str, LikelySample] = {}
        for sample in ranked:
            by_text.setdefault(sample.text, sample)
        return list(by_text.values())[: self.keep]
