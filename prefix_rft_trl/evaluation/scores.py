"""The figures of a benchmark, made of its samples."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from prefix_rft_trl.comparison.statistics import Estimate

from .estimates import majority_is_right, over_problems, pass_at_k
from .samples import Sample


@dataclass(frozen=True)
class Figures:
    """
    What the samples of a model for a benchmark say.

    Attributes:
        problems (`int`): problems with a right answer that can be read; the figures are of these.
        unscored (`int`): problems without one.
        num_samples (`int`): answers to each problem.
        mean (`Estimate`): avg@n, the share of right answers, with its interval over problems.
        pass_at_k (`list[float]`): for every k from 1 to n.
        majority (`float`): maj@n, the share of problems whose most frequent answer is right.
        answered (`float`): share of the answers that state a final answer.
        truncated (`float`): share of the answers that the budget has cut off.
        mean_tokens (`float`): of an answer.
        of_problems (`list[float]`): share of right answers to each problem, for paired comparisons.
        problem_indices (`list[int]`): which problems those are.
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
    of_problems: list[float]
    problem_indices: list[int]

    def as_json(self) -> dict[str, Any]:
        mean = {"mean": self.mean.mean, "half_width": self.mean.half_width}
        return {**asdict(self), "mean": mean}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Figures":
        return cls(**{**content, "mean": Estimate(**content["mean"], seeds=content["problems"])})


def figures_of(samples: Iterable[Sample]) -> Figures:
    """The figures of all samples of a benchmark, as many of each problem.

    Raises:
        ValueError: if no problem could be scored.
    """
    of_problem: dict[int, list[Sample]] = {}
    for sample in samples:
        of_problem.setdefault(sample.problem, []).append(sample)
    every = [sample for of_one in of_problem.values() for sample in of_one]
    scored = {
        index: of_one for index, of_one in of_problem.items() if not any(sample.reward is None for sample in of_one)
    }
    if not scored:
        raise ValueError("None of the problems has a right answer that the verifier can read.")
    rewards = {index: [float(sample.reward or 0) for sample in of_one] for index, of_one in scored.items()}
    number = len(next(iter(scored.values())))
    shares = [sum(of_one) / number for of_one in rewards.values()]
    right = [sum(reward >= 1 for reward in of_one) for of_one in rewards.values()]
    majorities = [
        majority_is_right([sample.answer for sample in of_one], rewards[index]) for index, of_one in scored.items()
    ]
    return Figures(
        problems=len(scored),
        unscored=len(of_problem) - len(scored),
        num_samples=number,
        mean=over_problems(shares),
        pass_at_k=pass_at_k(number, right).mean(axis=0).tolist(),
        majority=sum(majorities) / len(majorities),
        answered=sum(sample.answer is not None for sample in every) / len(every),
        truncated=sum(sample.is_truncated for sample in every) / len(every),
        mean_tokens=sum(sample.tokens for sample in every) / len(every),
        of_problems=shares,
        problem_indices=list(scored),
    )
