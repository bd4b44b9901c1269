"""Own successes as demonstrations (ExGRPO): which problem of a bank is trained again, and with which success.

A problem is in the bucket of the number of its group's rollouts that solved it on its last attempt. Drawn is a bucket
first, by the normal density of that number around half of the group with a deviation of 1, over the buckets that hold
a problem; then one of its problems, each as likely as the others. Of the successes of the problem the one that the
policy of now is most certain of is trained: the lowest mean entropy over its own tokens (the authors' code averages
over the padding of another row, and so takes short ones).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class OwnSuccess:
    """A completion that solved its problem.

    Attributes:
        ids (`torch.Tensor`): int32, shape (tokens,), the token that ended it included.
        logps (`torch.Tensor`): same shape, log-probabilities of the policy that sampled it.
    """

    ids: torch.Tensor
    logps: torch.Tensor


def bucket_of_attempt(solved: int, attempted: int, num_generations: int) -> int:
    """Number of solved rollouts of a whole group: 0 if none did, `num_generations` if all did, between them otherwise.

    Args:
        solved (`int`): rollouts that solved the problem.
        attempted (`int`): rollouts that count; fewer than `num_generations` where some went on from a prefix.
        num_generations (`int`): rollouts of a group.
    """
    if solved in (0, attempted):
        return num_generations if solved else 0
    return min(max(round(num_generations * solved / attempted), 1), num_generations - 1)


def bucket_probabilities(buckets: Sequence[int], num_generations: int) -> np.ndarray:
    """Probability of each bucket that holds a problem, shape (buckets,), however many problems it holds."""
    distances = np.asarray(buckets) - num_generations / 2
    exponents = -(distances**2) / 2
    densities = np.exp(exponents - exponents.max())  # or those of large groups would all be 0
    return densities / densities.sum()


def draw_problems(
    buckets: Mapping[int, int], num_generations: int, keys: Iterable[tuple[int, int, int]]
) -> list[int | None]:
    """Draws a problem for each of some groups, none of them twice.

    Args:
        buckets (`Mapping`): bucket of each problem; those of bucket 0 are not drawn.
        num_generations (`int`): rollouts of a group.
        keys (`Iterable[tuple[int, int, int]]`): for each group the seed of the run, optimizer steps done so far, and
            index of the group among all of this step, over all processes.

    Returns:
        `list[int | None]`: problem of each group; `None` when none is left.
    """
    left: dict[int, list[int]] = {}
    for problem in sorted(buckets):
        if buckets[problem] > 0:
            left.setdefault(buckets[problem], []).append(problem)
    drawn: list[int | None] = []
    for key in keys:
        filled = sorted(bucket for bucket, problems in left.items() if problems)
        if not filled:
            drawn.append(None)
            continue
        rng = np.random.default_rng([*key, 2])  # `key` alone, and with a 1, seeds the draws of a prefix
        bucket = filled[rng.choice(len(filled), p=bucket_probabilities(filled, num_generations))]
        drawn.append(left[bucket].pop(rng.integers(len(left[bucket]))))
    return drawn


def most_certain(mean_entropies: Sequence[float]) -> int:
    """Index of the success with the lowest mean entropy; of equals the last, which was sampled last."""
    return min(reversed(range(len(mean_entropies))), key=lambda index: mean_entropies[index])


@dataclass(frozen=True)
class Attempt:
    """What the rollouts of a group say about their problem.

    Attributes:
        problem (`int`): key of the problem.
        bucket (`int`): number of solved rollouts, of a whole group ([`bucket_of_attempt`]).
        successes (`list[int]`): rows of the batch that are worth storing.
    """

    problem: int
    bucket: int
    successes: list[int]


def read_attempts(
    problems: Sequence[int],
    on_policy: Sequence[bool],
    replayed: Sequence[bool],
    solved: Sequence[bool],
    finished: Sequence[bool],
    num_generations: int,
) -> list[Attempt]:
    """The attempts of a batch, group after group; rows that went on from a prefix do not count.

    A success that is replayed as a whole counts, as in ExGRPO: it is one of the policy's own, and a group in which the
    policy solves the problem with all others is solved.

    Args:
        problems (`Sequence[int]`): key of the problem of each row.
        on_policy, replayed, solved, finished (`Sequence[bool]`): of each row, whether it was sampled without a prefix,
            is a whole success, has the reward of one, and was ended by the policy.
        num_generations (`int`): rows of a group.

    Returns:
        `list[Attempt]`: without groups that have no row without a prefix.
    """
    attempts = []
    for start in range(0, len(problems), num_generations):
        rows = range(start, start + num_generations)
        counted = [row for row in rows if on_policy[row] or replayed[row]]
        if not any(on_policy[row] for row in rows):
            continue
        bucket = bucket_of_attempt(
            sum(bool(solved[row] or replayed[row]) for row in counted), len(counted), num_generations
        )
        is_stored = 0 < bucket < num_generations
        successes = [row for row in rows if is_stored and on_policy[row] and solved[row] and finished[row]]
        attempts.append(Attempt(problems[start], bucket, successes))
    return attempts
