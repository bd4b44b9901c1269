"""`dataset_name: reasoning_gym/<task>`: a training and a test split of problems that are made on the spot."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .generating import generate


if TYPE_CHECKING:
    from datasets import DatasetDict

NAME_PREFIX = "reasoning_gym/"
SIZES = {"size": 1000, "test_size": 200}

# Problem i of seed s is problem i - 1 of seed s + 1: the seeds of two splits have to be further apart than their size
TEST_SEEDS_AFTER = 2**30

logger = logging.getLogger(__name__)


def load_splits(name: str, settings: Mapping[str, Any] | None = None) -> "DatasetDict":
    """The splits `train` and `test` of a task; no problem is in both.

    Args:
        name (`str`): `reasoning_gym/` and the name of the task.
        settings (`Mapping[str, Any]`, *optional*): `size` (1000) and `test_size` (200; with 0 there is no such split),
            the problems of each split; `seed` (0); all others are options of the task.

    Returns:
        [`~datasets.DatasetDict`]: columns `prompt`, `completion` (a demonstration; left out if the task has none),
        `solution` (the answer; `None` where a task has several and can only check them) and `entry` (for the reward).

    Raises:
        ValueError: if reasoning-gym is not installed, or if task or settings are not what it knows.
    """
    from datasets import Dataset, DatasetDict

    task = name.removeprefix(NAME_PREFIX)
    size, test_size, seed, options = _read(settings or {})
    train, test = generate(task, options, [(seed, size), (seed + TEST_SEEDS_AFTER, test_size)])
    splits = {"train": train} | ({"test": _without_those_of(train, test, task)} if test_size else {})
    columns = ["prompt", "completion", "solution", "entry"]
    if all(row["completion"] is None for row in train):
        columns.remove("completion")
    return DatasetDict(
        {
            split: Dataset.from_dict({column: [row[column] for row in rows] for column in columns})
            for split, rows in splits.items()
        }
    )


def _read(settings: Mapping[str, Any]) -> tuple[int, int, int, dict[str, Any]]:
    options = dict(settings)
    numbers = {name: options.pop(name, default) for name, default in {**SIZES, "seed": 0}.items()}
    for name, number in numbers.items():
        lowest = 1 if name == "size" else 0
        if not isinstance(number, int) or isinstance(number, bool) or not lowest <= number < TEST_SEEDS_AFTER:
            raise ValueError(
                f"`{name}` of `reasoning_gym` is a whole number from {lowest} to {TEST_SEEDS_AFTER - 1}, found "
                f"{number!r}."
            )
    return numbers["size"], numbers["test_size"], numbers["seed"], options


def _without_those_of(train: list[dict[str, Any]], test: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    trained = {row["prompt"] for row in train}
    left = [row for row in test if row["prompt"] not in trained]
    if not left:
        raise ValueError(
            f"the task {task!r} of reasoning-gym has so few problems that all {len(test)} of the test split are in "
            f"the training split ({len(train)}) too. Set options that make more, a smaller `size`, or `test_size: 0`."
        )
    if len(left) < len(test):
        logger.warning(
            f"{len(test) - len(left)} of {len(test)} test problems of reasoning-gym's {task!r} are left out, because "
            "they are in the training split too."
        )
    return left
