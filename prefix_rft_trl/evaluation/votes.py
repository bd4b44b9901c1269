"""Decide the majority vote of each problem, in which answers of the same meaning are one vote.

Meaning is the verifier's own equality, which is neither symmetric nor transitive: to it `5 cm` and `5 kg` are both 5,
and not each other. So the classes are defined by an order. The most frequent spelling, the first to appear among
equals, represents the first class; every spelling that equals it in both directions joins. The most frequent of the
rest represents the next class, and so on.
"""

from collections.abc import Callable, Sequence


MOST_COMPARED = 64  # spellings of a problem; rarer ones are classes of their own
TOGETHER = 32  # problems whose answers are compared in one batch

# For pairs of a right answer and an answer, whether they are equal; `None` where comparing them takes too long
Equality = Callable[[list[tuple[str, str]]], Sequence[bool | None]]


def majority_scores(
    answers: Sequence[Sequence[str | None]], rewards: Sequence[Sequence[float]], equal: Equality | None
) -> list[float]:
    """The reward of the class of answers that most samples of a problem give, for each problem.

    That is the mean reward of the samples in the class: the verifier may judge two of its spellings differently. Where
    several classes lead, the mean of theirs.

    Args:
        answers: final answer of each sample of each problem; `None`, where it states none, does not vote.
        rewards: reward of each sample.
        equal (`Callable`, *optional*): compares pairs of answers. Without it, answers vote by their spelling.

    Returns:
        `list[float]`: 0 for a problem without any stated answer.

    Raises:
        ValueError: if `equal` does not give a result for each pair.
    """
    from tqdm.auto import tqdm

    ballots = [_Ballot(*problem) for problem in zip(answers, rewards, strict=True)]
    with tqdm(total=len(ballots), desc="comparing answers", unit="problem", leave=False, delay=2) as bar:
        for start in range(0, len(ballots), TOGETHER):
            batch = ballots[start : start + TOGETHER]
            while equal and (undecided := [ballot for ballot in batch if not ballot.is_decided]):
                _form_classes(undecided, equal)
            bar.update(len(batch))
    return [ballot.score() for ballot in ballots]


class _Ballot:
    """The votes of a problem: classes that are complete, and spellings that may still join one."""

    def __init__(self, answers: Sequence[str | None], rewards: Sequence[float]):
        votes: dict[str, list[float]] = {}
        for answer, reward in zip(answers, rewards, strict=True):
            if answer is not None:
                votes.setdefault(answer, []).append(reward)
        most_frequent_first = sorted(votes, key=lambda spelling: -len(votes[spelling]))
        self.waiting = {spelling: votes[spelling] for spelling in most_frequent_first[:MOST_COMPARED]}
        self.classes = [votes[spelling] for spelling in most_frequent_first[MOST_COMPARED:]]

    @property
    def is_decided(self) -> bool:
        """Whether no further comparison can change the score."""
        groups = [*self.classes, *self.waiting.values()]
        if len(self.waiting) < 2 or len({reward for group in groups for reward in group}) < 2:
            return True
        return max(map(len, self.classes), default=0) > sum(map(len, self.waiting.values()))

    def score(self) -> float:
        groups = [*self.classes, *self.waiting.values()]
        most = max(map(len, groups), default=0)
        means = [sum(group) / len(group) for group in groups if len(group) == most]
        return sum(means) / len(means) if means else 0.0


def _form_classes(ballots: list[_Ballot], equal: Equality) -> None:
    """Completes the next class of each ballot."""
    classes = []
    for ballot in ballots:
        representative = next(iter(ballot.waiting))
        ballot.classes.append(ballot.waiting.pop(representative))
        classes.append([(representative, spelling) for spelling in ballot.waiting])
    pairs = list(dict.fromkeys(pair for of_ballot in classes for pair in of_ballot))
    found = _equal_both_ways(pairs, equal)
    for ballot, of_ballot in zip(ballots, classes, strict=True):
        complete = ballot.classes[-1]
        for pair in of_ballot:
            if found[pair]:
                complete += ballot.waiting.pop(pair[1])
            elif found[pair] is None:  # it would take as long with every other
                ballot.classes.append(ballot.waiting.pop(pair[1]))


def _equal_both_ways(pairs: list[tuple[str, str]], equal: Equality) -> dict[tuple[str, str], bool | None]:
    one_way = _compared(pairs, equal)
    other_way = _compared([(second, first) for (first, second), is_equal in one_way.items() if is_equal], equal)
    return {(one, other): other_way.get((other, one), is_equal) for (one, other), is_equal in one_way.items()}


def _compared(pairs: list[tuple[str, str]], equal: Equality) -> dict[tuple[str, str], bool | None]:
    found = equal(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"`equal_answers` of the reward gives {len(found)} results for {len(pairs)} pairs.")
    return dict(zip(pairs, found, strict=True))
