"""Load `dataset_name: reasoning_gym/<task>`: a training and a test split of problems generated on the spot."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .generating import generate


if TYPE_CHECKING:
    from datasets import DatasetDict

NAME_PREFIX = "reasoning_gym/"
SIZES = {"size": 1000, "test_size": 200}

# Problem i of seed s is problem i - 1 of seed s + 1: the seeds of two splits have to be further apart than their size
TEST_SEED_OFFSET = 2**30

logger = logging.getLogger(__name__)


def load_splits(name: str, settings: Mapping[str, Any] | None = None) -> "DatasetDict":
    """The splits `train` and `test` of a task, without common problems.

    Args:
        name (`str`): `reasoning_gym/` and the name of the task.
        settings (`Mapping[str, Any]`, *optional*): problems of each split, `size` (1000) and `test_size` (200; 0 for
            no test split); `seed` (0); all others are options of the task.

    Returns:
        [`~datasets.DatasetDict`]: columns `prompt`, `completion` (demonstrations; missing if the task has none),
        `solution` (the answer; `None` where a task has several and can only check them) and `entry` (for the reward).

    Raises:
        ValueError: if reasoning-gym is not installed, or does not know the task or a setting.
    """
    from datasets import Dataset, DatasetDict

    task = name.removeprefix(NAME_PREFIX)
    size, test_size, seed, options = _read_settings(settings or {})
    train, test = generate(task, options, [(seed, size), (seed + TEST_SEED_OFFSET, test_size)])
    splits = {"train": train} | ({"test": _drop_trained(test, train, task)} if test_size else {})
    columns = ["prompt", "completion", "solution", "entry"]
    if all(row["completion"] is None for row in train):
        columns.remove("completion")
    return DatasetDict(
        {
            split: Dataset.from_dict({column: [row[column] for row in rows] for column in columns})
            for split, rows in splits.items()
        }
    )


def _read_settings(settings: Mapping[str, Any]) -> tuple[int, int, int, dict[str, Any]]:
    options = dict(settings)
    numbers = {name: options.pop(name, default) for name, default in {**SIZES, "seed": 0}.items()}
    for name, number in numbers.items():
        lowest = 1 if name == "size" else 0
        if not isinstance(number, int) or isinstance(number, bool) or not lowest <= number < TEST_SEED_OFFSET:
            raise ValueError(
                f"`{name}` of `reasoning_gym` must be an integer from {lowest} to {TEST_SEED_OFFSET - 1}, found "
                f"{number!r}."
            )
    return numbers["size"], numbers["test_size"], numbers["seed"], options


def _drop_trained(test: list[dict[str, Any]], train: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    prompts = {row["prompt"] for row in train}
    left = [row for row in test if row["prompt"] not in prompts]
    if not left:
        raise ValueError(
            f"the task {task!r} of reasoning-gym has so few problems that all {len(test)} of the test split are in "
            f"the training split ({len(train)}) too. Set options that allow more, a smaller `size`, or `test_size: 0`."
        )
    if len(left) < len(test):
        logger.warning(
            f"{len(test) - len(left)} of {len(test)} test problems of reasoning-gym's {task!r} are left out: they are "
            "in the training split too."
        )
    return left
