"""Compute the scores of a benchmark from its samples: avg@n, pass@k, maj@n and paired differences."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from prefix_rft_trl.utils.intervals import Estimate, estimate

from .samples import Sample


@dataclass(frozen=True)
class Scores:
    """
    The scores of a model on a benchmark.

    Attributes:
        problems (`int`): problems with a right answer that can be read; the scores are of these.
        unscored (`int`): problems without one.
        num_samples (`int`): answers to each problem.
        mean (`Estimate`): avg@n, the share of right answers, with its interval over problems.
        pass_at_k (`list[float]`): for every k from 1 to n.
        majority (`float`): maj@n, the share of problems whose most frequent answer is right.
        answered (`float`): share of the answers that state a final answer.
        truncated (`float`): share of the answers that the budget has cut off.
        mean_tokens (`float`): mean length of an answer.
        problem_accuracies (`list[float]`): share of right answers to each problem, for paired comparisons.
        problem_indices (`list[int]`): the numbers of those problems in the benchmark.
    """

    problems: int
    unscored: int
    num_samples: int
    mean: Estimate
    pass_at_k: list[float]
    majority: float
    answered: float
    truncated: float
    mean_tokens: float
    problem_accuracies: list[float]  # `of_problems` in results.json, as in 0.6.0
    problem_indices: list[int]

    def as_json(self) -> dict[str, Any]:
        content = {**asdict(self), "mean": {"mean": self.mean.mean, "half_width": self.mean.half_width}}
        return {"of_problems" if name == "problem_accuracies" else name: value for name, value in content.items()}

    @classmethod
    def keys(cls) -> list[str]:
        """The keys of [`Scores.as_json`]."""
        names = [field.name for field in fields(cls)]
        return ["of_problems" if name == "problem_accuracies" else name for name in names]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Scores":
        mean = Estimate(**content["mean"], seeds=content["problems"])
        others = {name: value for name, value in content.items() if name != "of_problems"}
        return cls(**{**others, "mean": mean, "problem_accuracies": content["of_problems"]})


def compute_scores(samples: Iterable[Sample]) -> Scores:
    """The scores of all samples of a benchmark, equally many of each problem.

    Raises:
        ValueError: if no problem could be scored.
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
    if not rewards:
        raise ValueError("None of the problems has a right answer that the verifier can read.")
    number = len(next(iter(rewards.values())))
    shares = [sum(values) / number for values in rewards.values()]
    right = [sum(reward >= 1 for reward in values) for values in rewards.values()]
    majorities = [
        majority_is_right([sample.answer for sample in by_problem[problem]], values)
        for problem, values in rewards.items()
    ]
    return Scores(
        problems=len(rewards),
        unscored=len(by_problem) - len(rewards),
        num_samples=number,
        mean=over_problems(shares),
        pass_at_k=pass_at_k(number, right).mean(axis=0).tolist(),
        majority=sum(majorities) / len(majorities),
        answered=sum(sample.answer is not None for sample in every) / len(every),
        truncated=sum(sample.is_truncated for sample in every) / len(every),
        mean_tokens=sum(sample.tokens for sample in every) / len(every),
        problem_accuracies=shares,
        problem_indices=list(rewards),
    )


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


def majority_is_right(answers: Sequence[str | None], rewards: Sequence[float]) -> float:
    """The reward of the answer that most samples of a problem give; where several lead, the mean of theirs.

    Args:
        answers (`Sequence[str | None]`): final answer of each sample; `None`, where it states none, does not vote.
        rewards (`Sequence[float]`): reward of each sample; of equal answers the mean counts.

    Returns:
        `float`: 0 if no sample states an answer.
    """
    votes: dict[str, list[float]] = {}
    for answer, reward in zip(answers, rewards, strict=True):
        if answer is not None:
            votes.setdefault(answer, []).append(reward)
    most = max(map(len, votes.values()), default=0)
    leading = [sum(rewards) / len(rewards) for rewards in votes.values() if len(rewards) == most]
    return sum(leading) / len(leading) if leading else 0.0


def over_problems(values: Sequence[float]) -> Estimate:
    """Mean over problems with its 95% interval (Student's t); no interval where all problems have the same value."""
    found = estimate(list(map(float, values)))
    return replace(found, half_width=None) if len(set(values)) == 1 else found


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of second - first over the same problems, with the 95% interval of the differences.

    It is narrower than the intervals of the two, since what makes a problem hard for both drops out.
    """
    return estimate([after - before for before, after in zip(first, second, strict=True)])
