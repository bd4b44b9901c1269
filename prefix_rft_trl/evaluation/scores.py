"""Compute the scores of a benchmark from its samples: avg@n, pass@k, maj@n and paired differences."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from prefix_rft_trl.rewards.registry import RewardFunction, answer_finder, name_of_reward
from prefix_rft_trl.utils.intervals import Estimate, bounded_interval, estimate

from .samples import Sample
from .votes import majority_scores


@dataclass(frozen=True)
class Scores:
    """
    The scores of a model on a benchmark. `None` is unknown.

    Attributes:
        problems (`int`): problems all of whose answers have a reward; the scores are of these.
        unscored (`int`): the others, such as those whose right answer cannot be read.
        num_samples (`int`): answers to each problem.
        mean (`Estimate`, *optional*): avg@n, the share of right answers, with its interval over problems.
        pass_at_k (`list[float]`, *optional*): for every k from 1 to n.
        majority (`float`, *optional*): maj@n, the share of problems whose most frequent answer is right.
        answered (`float`, *optional*): share of the answers that state a final answer.
        truncated (`float`): share of the answers that the budget has cut off.
        mean_tokens (`float`): mean length of an answer.
        problem_accuracies (`list[float]`): share of right answers to each problem, for paired comparisons.
        problem_indices (`list[int]`): the numbers of those problems in the benchmark.
        unknown (`dict[str, str]`): why, for each of these scores that is unknown.
    """

    problems: int
    unscored: int
    num_samples: int
    mean: Estimate | None
    pass_at_k: list[float] | None
    majority: float | None
    answered: float | None
    truncated: float
    mean_tokens: float
    problem_accuracies: list[float]  # `of_problems` in results.json, as in 0.6.0
    problem_indices: list[int]
    unknown: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        low, high = (self.mean and interval_of_share(self.mean)) or (None, None)
        mean = self.mean and {"mean": self.mean.mean, "half_width": self.mean.half_width, "low": low, "high": high}
        content = {**asdict(self), "mean": mean}
        return {"of_problems" if name == "problem_accuracies" else name: value for name, value in content.items()}

    @classmethod
    def keys(cls) -> list[str]:
        """The keys of [`Scores.as_json`]."""
        names = [field.name for field in fields(cls)]
        return ["of_problems" if name == "problem_accuracies" else name for name in names]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Scores":
        mean = content["mean"] and Estimate(
            content["mean"]["mean"], content["mean"]["half_width"], seeds=content["problems"]
        )
        others = {name: value for name, value in content.items() if name != "of_problems"}
        return cls(**{**others, "mean": mean, "problem_accuracies": content["of_problems"]})


def compute_scores(samples: Iterable[Sample], reward: RewardFunction) -> Scores:
    """The scores of all samples of a benchmark, equally many of each problem.

    Args:
        samples (`Iterable[Sample]`): with their rewards.
        reward (`Callable`): that they have these from. It may say how answers are found (`answer_finder`), and which
            are equal: a method or attribute `equal_answers`, of the kind of `Equality`.
    """
    by_problem: dict[int, list[Sample]] = {}
    for sample in samples:
        by_problem.setdefault(sample.problem, []).append(sample)
    every = [sample for answers in by_problem.values() for sample in answers]
    rewards = {
        problem: [float(sample.reward or 0) for sample in answers]
        for problem, answers in by_problem.items()
        if not any(sample.reward is None for sample in answers)
    }
    number = len(next(iter(by_problem.values())))
    shares = [sum(values) / number for values in rewards.values()]
    right = [sum(value >= 1 for value in values) for values in rewards.values()]
    is_read = answer_finder(reward) is not None
    stated = [[sample.answer for sample in by_problem[problem]] for problem in rewards]
    votes = majority_scores(stated, [*rewards.values()], getattr(reward, "equal_answers", None)) if is_read else []
    return Scores(
        problems=len(rewards),
        unscored=len(by_problem) - len(rewards),
        num_samples=number,
        mean=over_problems(shares) if rewards else None,
        pass_at_k=pass_at_k(number, right).mean(axis=0).tolist() if rewards else None,
        majority=sum(votes) / len(votes) if votes else None,
        answered=sum(sample.answer is not None for sample in every) / len(every) if is_read else None,
        truncated=sum(sample.is_truncated for sample in every) / len(every),
        mean_tokens=sum(sample.tokens for sample in every) / len(every),
        problem_accuracies=shares,
        problem_indices=list(rewards),
        unknown=_reasons(name_of_reward(reward), is_scored=bool(rewards), is_read=is_read),
    )


def _reasons(reward: str, is_scored: bool, is_read: bool) -> dict[str, str]:
    """Why scores are unknown, by their names."""
    unscored = f"the reward `{reward}` gives no problem a score"
    unread = f"the reward `{reward}` has no `final_answer`, which finds the answer that a response states"
    reasons = {} if is_scored else dict.fromkeys(("mean", "pass_at_k", "majority"), unscored)
    return reasons if is_read else dict.fromkeys(("majority", "answered"), unread) | reasons


def pass_at_k(samples: int, right: Sequence[int]) -> np.ndarray:
    """The unbiased estimate of pass@k of each problem, for every k from 1 to the number of samples.

    That is 1 - C(n - c, k) / C(n, k) (Chen et al., 2021, arXiv 2107.03374, eq. 1) for n samples of which c are right:
    the share of the choices of k samples that hold a right one.

    Args:
        samples (`int`): n, of each problem.
        right (`Sequence[int]`): c, of each problem.

    Returns:
        `np.ndarray` of shape (problems, samples): column k - 1 is pass@k.

    Raises:
        ValueError: if more samples are right than there are.
    """
    counts = np.asarray(right, dtype=np.int64)
    if samples < 1 or (counts < 0).any() or (counts > samples).any():
        raise ValueError(f"Of {samples} samples of a problem between 0 and {samples} are right, found {right}.")
    drawn = np.arange(samples)  # before the k-th draw, all of them wrong, k - 1 are gone
    wrong_left = np.clip(samples - counts[:, None] - drawn, 0, None)
    return 1 - np.cumprod(wrong_left / (samples - drawn), axis=1)


def over_problems(values: Sequence[float]) -> Estimate:
    """Mean over problems with its 95% interval (Student's t); no interval where all problems have the same value."""
    found = estimate(list(map(float, values)))
    is_one_value = len({round(value, 12) for value in values}) == 1  # 2/3 - 1/3 and 1/3 - 0 differ by rounding
    return replace(found, half_width=None) if is_one_value else found


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of second - first over the same problems, with the 95% interval of the differences, unless all are equal.

    It is narrower than the intervals of the two, since what makes a problem hard for both drops out.
    """
    return over_problems([after - before for before, after in zip(first, second, strict=True)])


def interval_of_share(mean: Estimate) -> tuple[float, float] | None:
    """The 95% interval of avg@n: Student's t, or Wilson's where that leaves 0 to 1 or all problems are alike."""
    if mean.half_width and mean.low >= 0 and mean.high <= 1:
        return mean.low, mean.high
    return bounded_interval(mean.mean, mean.half_width or 0.0, draws=mean.seeds)


def interval_of_difference(mean: Estimate) -> tuple[float, float] | None:
    """The 95% interval of a difference of shares: Student's t within -1 to 1; `None` where there is none."""
    if mean.half_width is None:
        return None
    return (max(mean.low, -1.0), min(mean.high, 1.0)) if abs(mean.mean) <= 1 else (mean.low, mean.high)
