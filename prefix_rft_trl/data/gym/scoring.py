"""Reward of reasoning-gym's tasks: the task's own scorer, run in worker processes that no answer can stop."""

import ast
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from prefix_rft_trl.rewards.answers import log_answers, stated_answer
from prefix_rft_trl.rewards.verification.worker_pool import Failure, WorkerPool
from prefix_rft_trl.rewards.verification.workers import limit_worker

from .generating import read_entry
from .tasks import make_task, registered_tasks


class ReasoningGymScore:
    r"""
    Scores a response with the scorer of its row's task: 1 for a right answer, and for some tasks a part of it for an
    answer that is partly right, or right in another form.

    The answer is taken from the last `<answer>` tags or `\boxed{}` or, without either, from behind the last marker,
    never from a closed thinking block. A response without an answer scores 0. So does one on which the scorer raises,
    takes too long, or crashes its process.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one per core, shared by the processes of a
            launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds per answer.
    """

    __name__ = "reasoning_gym_score"
    required_columns = ("entry",)

    def __init__(self, num_workers: int | None = None, time_limit: float = 5.0):
        self.workers = WorkerPool(score_answer, prepare_worker, num_workers, time_limit)

    def __call__(
        self,
        completions: Sequence[str | list[dict[str, Any]]],
        entry: Sequence[str] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        """The score of each completion, text or messages.

        The trainer's `log_extra` gets the extracted answers for the completions table, its `log_metric` the shares of
        responses without an answer and of answers that could not be scored, by reason.

        Raises:
            ValueError: if the rows are not from a dataset of reasoning-gym.
        """
        if entry is None:
            raise ValueError(
                "`reasoning_gym_score` finds no column 'entry'. It scores the rows of `dataset_name: "
                f"reasoning_gym/<task>`, and was given: {', '.join(columns) or 'none'}."
            )
        answers = [stated_answer(completion) for completion in completions]
        pairs = list(zip(answers, entry, strict=True))
        distinct = list(dict.fromkeys(pair for pair in pairs if pair[0] is not None))
        results = self.workers.results(distinct, prepare_with=tuple(entry[:1]))
        scores = [0.0 if pair[0] is None else results[pair] for pair in pairs]
        if log_extra is not None:
            log_answers(log_extra, answers)
        if log_metric is not None and scores:
            log_metric("reasoning_gym/no_answer", answers.count(None) / len(answers))
            for failure in Failure:
                log_metric(f"reasoning_gym/{failure.value}", scores.count(failure) / len(scores))
        return [0.0 if isinstance(score, Failure) else score for score in scores]


# In the worker processes


def prepare_worker(entry: str) -> None:
    """Limits a worker process, and makes the task of an entry, which may take longer than an answer is allowed to."""
    limit_worker()
    evaluate_literals_only()
    with suppress(Exception):  # scoring the answer raises it again, and counts it
        _task(entry)


def evaluate_literals_only() -> None:
    """Replaces `eval` by `ast.literal_eval` in scorers that evaluate an answer as Python, to read a list for a grid.

    Anything but a literal could call what it likes, or name the variable that holds the right answer.
    """
    for task_class, _ in registered_tasks().values():
        if "eval(" in inspect.getsource(task_class.score_answer):
            sys.modules[task_class.__module__].eval = ast.literal_eval  # type: ignore[attr-defined]


def score_answer(answer: str, entry: str) -> float:
    """The score that the task of an entry gives an answer."""
    score = float(_task(entry).score_answer(answer, read_entry(entry)[2]))
    if not math.isfinite(score):
        raise ValueError(f"a score of {score}")
    return score


def _task(entry: str) -> Any:
    task, options, _ = read_entry(entry)
    return _cached_task(task, repr(options))


@cache
def _cached_task(task: str, options: str) -> Any:
    return make_task(task, ast.literal_eval(options), seed=0)
