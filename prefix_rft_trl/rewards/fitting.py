"""Choose the reward for a dataset: the one that finds its demonstrations right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .math_accuracy import MathAccuracyReward
from .registry import load_reward, required_columns


VERIFIED = "math_accuracy_reward"
OTHERS = ("gsm8k_final_number", "lab_exact_answer")
LEAST_SHARE = 0.5  # of the demonstrations; fewer may be right by chance


@dataclass(frozen=True)
class FittingReward:
    """A registered reward, and how many of the demonstrations that it was tried on it finds right."""

    name: str
    right: int
    tried: int


def choose_reward(
    demonstrations: Sequence[str], answers: Sequence[Any], columns: Mapping[str, Sequence[Any]]
) -> FittingReward | None:
    """
    The reward that finds most demonstrations right; among equals Math-Verify's.

    Args:
        demonstrations (`Sequence[str]`): their texts, one a row.
        answers (`Sequence`): the right answers of the rows.
        columns (`Mapping`): the columns of the rows in training, of which the other rewards read some by name.

    Returns:
        `FittingReward` or `None`: `None` if each finds less than half of them right.
    """
    verified = MathAccuracyReward()
    with verified.verifier:
        found = {VERIFIED: verified(completions=list(demonstrations), solution=list(answers))}
    for name in OTHERS:
        reward = load_reward(name)
        read = {column: columns.get(column, [None]) for column in required_columns(reward)}
        if all(isinstance(value, str) for values in read.values() for value in values):
            found[name] = reward(completions=list(demonstrations), **read)
    name = max(found, key=lambda name: found[name].count(1.0))
    best = FittingReward(name, found[name].count(1.0), len(demonstrations))
    return best if best.right >= LEAST_SHARE * best.tried else None
