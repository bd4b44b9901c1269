"""A bank of completions that solved their problem, with the rows of the dataset that they belong to.

It is the same on every process, and in a file of its own in each checkpoint.
"""

import datetime
import decimal
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prefix_rft_trl.method.replay import Attempt, OwnSuccess


BANK_FILE = "own_successes.pt"
TYPES_IN_ROWS = [
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, decimal.Decimal,
]  # fmt: skip


@dataclass
class SolvedProblem:
    """A problem that some rollouts of its last attempt solved.

    Attributes:
        example (`dict`): its row of the dataset.
        prompt_ids (`torch.Tensor`): int32, shape (tokens,), as the sampler got them.
        successes (`list[OwnSuccess]`): from the oldest to the newest.
        bucket (`int`): number of solved rollouts on the last attempt.
    """

    example: dict[str, Any]
    prompt_ids: torch.Tensor
    successes: list[OwnSuccess]
    bucket: int


class SuccessBank:
    """
    Args:
        max_problems (`int`): problems that it holds; the one that was solved longest ago leaves first.
        per_problem (`int`): successes of a problem; the oldest leave first.
        num_generations (`int`): rollouts of a group; a problem that all of them solved leaves for ever.

    Attributes:
        problems (`dict[int, SolvedProblem]`): by key, the one that was solved last at the end.
        mastered (`set[int]`): keys of the problems that have left for ever.
        has_started (`bool`): whether successes are stored and replayed.
    """

    def __init__(self, max_problems: int, per_problem: int, num_generations: int) -> None:
        self.max_problems, self.per_problem, self.num_generations = max_problems, per_problem, num_generations
        self.problems: dict[int, SolvedProblem] = {}
        self.mastered: set[int] = set()
        self.has_started = False

    @property
    def buckets(self) -> dict[int, int]:
        return {key: problem.bucket for key, problem in self.problems.items()}

    @property
    def num_successes(self) -> int:
        return sum(len(problem.successes) for problem in self.problems.values())

    def record(self, attempts: list[Attempt]) -> list[Attempt]:
        """Moves problems to the bucket of their last attempt; returns the attempts whose successes are to be stored.

        Of the successes of an attempt they have the last, as many as a problem may have.
        """
        last = {attempt.problem: attempt.bucket for attempt in attempts}
        for attempt in attempts:
            if attempt.bucket == self.num_generations:
                self.mastered.add(attempt.problem)
                self.problems.pop(attempt.problem, None)
            elif attempt.problem in self.problems:
                self.problems[attempt.problem].bucket = attempt.bucket
        return [
            Attempt(attempt.problem, last[attempt.problem], attempt.successes[-self.per_problem :])
            for attempt in attempts
            if attempt.successes and attempt.problem not in self.mastered
        ]

    def store(self, key: int, problem: SolvedProblem) -> None:
        """Adds the successes of an attempt; one that it has already is renewed, with its new log-probabilities."""
        known = self.problems.pop(key).successes if key in self.problems else []
        by_ids = {tuple(success.ids.tolist()): success for success in known}
        for success in problem.successes:
            ids = tuple(success.ids.tolist())
            by_ids.pop(ids, None)
            by_ids[ids] = success
        problem.successes = list(by_ids.values())[-self.per_problem :]
        self.problems[key] = problem
        for oldest in list(self.problems)[: -self.max_problems]:
            del self.problems[oldest]

    def save(self, folder: Path) -> None:
        """Writes it into a folder, in few tensors: one for each success would take long."""
        successes = [success for problem in self.problems.values() for success in problem.successes]
        saved = {
            "has_started": self.has_started,
            "mastered": torch.tensor(sorted(self.mastered), dtype=torch.int64),
            "problems": [
                {"key": key, "example": problem.example, "bucket": problem.bucket, "successes": len(problem.successes)}
                for key, problem in self.problems.items()
            ],
            "prompts": _joined([problem.prompt_ids for problem in self.problems.values()]),
            "completions": _joined([success.ids for success in successes]),
            "logps": _joined([success.logps for success in successes]),
        }
        torch.save(saved, folder / BANK_FILE)

    def load(self, folder: Path) -> bool:
        """Reads it from a folder, without running what a pickle may hold; `False` if there is none."""
        file = folder / BANK_FILE
        if not file.is_file():
            return False
        with torch.serialization.safe_globals(TYPES_IN_ROWS):
            saved = torch.load(file, weights_only=True, map_location="cpu")
        successes = map(OwnSuccess, _parts(saved["completions"]), _parts(saved["logps"]))
        self.has_started, self.mastered = saved["has_started"], set(saved["mastered"].tolist())
        self.problems = {}
        for problem, prompt_ids in zip(saved["problems"], _parts(saved["prompts"]), strict=True):
            own = [next(successes) for _ in range(problem["successes"])]
            self.problems[problem["key"]] = SolvedProblem(problem["example"], prompt_ids, own, problem["bucket"])
        return True


def refuse_unreadable(row: dict[str, Any]) -> None:
    """Raises a ValueError if a checkpoint could not give back a row of the dataset without running a pickle."""
    for column, value in row.items():
        held = io.BytesIO()
        torch.save(value, held)
        held.seek(0)
        try:
            with torch.serialization.safe_globals(TYPES_IN_ROWS):
                torch.load(held, weights_only=True)
        except pickle.UnpicklingError:
            raise ValueError(
                f"Column '{column}' has a {type(value).__name__} in the first row, and `demonstration_source='own'` "
                "keeps rows in checkpoints, which cannot hold one. Give the dataset in Python's own types "
                "(`dataset.with_format(None)`), or remove the column."
            ) from None


def _joined(tensors: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        "values": torch.cat(tensors) if tensors else torch.empty(0),
        "lengths": torch.tensor([len(tensor) for tensor in tensors], dtype=torch.int64),
    }


def _parts(joined: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return list(joined["values"].split(joined["lengths"].tolist()))
