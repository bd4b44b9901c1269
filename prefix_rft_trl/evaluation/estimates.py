"""What many samples of many problems say: avg@k, pass@k and maj@k, with intervals over problems.

Problems are what a benchmark has drawn, so that intervals are over them. More samples of a problem make its own figure
exact, and leave the interval as wide as few problems make it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from prefix_rft_trl.comparison.statistics import Estimate, estimate


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
        answers (`Sequence[str | None]`): what each sample states, `None` where it states none. Those do not vote.
        rewards (`Sequence[float]`): of each sample. Of an answer's samples the mean counts.

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
    """Mean over problems with its 95% interval (Student's t); none where all problems are alike, which tells nothing
    of how much they differ.
    """
    found = estimate(list(map(float, values)))
    return replace(found, half_width=None) if len(set(values)) == 1 else found


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of second - first over the same problems, with the 95% interval of the differences.

    What makes a problem hard for both drops out, so that it is narrower than the intervals of the two.
    """
    return estimate([after - before for before, after in zip(first, second, strict=True)])
