"""The reward of reasoning-gym's tasks: what a task's own scorer says of the answer that a response states."""

import ast
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from prefix_rft_trl.rewards.answers import stated_answer
from prefix_rft_trl.rewards.verification.worker_pool import Failure, WorkerPool
from prefix_rft_trl.rewards.verification.workers import limit_worker

from .generating import read_entry
from .tasks import make_task, registered_tasks


def score_answer(answer: str, entry: str) -> float:
    """What the scorer of a row's task says of an answer, in the worker."""
    score = float(_task(entry).score_answer(answer, read_entry(entry)[2]))
    if not math.isfinite(score):
        raise ValueError(f"a score of {score}")
    return score


def prepare_worker(entry: str) -> None:
    """Readies a worker process: it is limited, and the task of an entry is made, which can take longer than an answer
    may.
    """
    limit_worker()
    read_answers_as_literals()
    with suppress(Exception):  # the answer will say it
        _task(entry)


LONGEST_IN_TABLE = 80  # characters of an answer in the completions table


class ReasoningGymScore:
    r"""
    What the scorer of a row's task says of a response: 1 for a right answer, and of some tasks parts of it for answers
    that are partly right, or right in another form.

    The answer is what stands in the last `<answer>` tags or `\boxed{}` or, without either, behind the last marker; not
    in a thinking block that is closed. A response without one counts 0. So does an answer on which the scorer raises,
    takes too long, or brings its process down.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one a core, shared by the processes of a launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds that an answer may take.
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

        `log_extra` and `log_metric` come from the trainer: the answers that were read go to the completions table, the
        shares of responses without an answer and of answers that could not be scored, by why, to the log.

        Raises:
            ValueError: if the rows are not of a dataset of reasoning-gym.
        """
        if entry is None:
            raise ValueError(
                "`reasoning_gym_score` finds no column 'entry'. It scores the rows of `dataset_name: "
                f"reasoning_gym/<task>`, and was given: {', '.join(columns) or 'none'}."
            )
        answers = [stated_answer(completion) for completion in completions]
        asked = list(zip(answers, entry, strict=True))
        to_score = list(dict.fromkeys(pair for pair in asked if pair[0] is not None))
        found = self.workers.results(to_score, prepare_with=tuple(entry[:1]))
        scores = [0.0 if answer is None else found[answer, of_row] for answer, of_row in asked]
        if log_extra is not None:
            log_extra("extracted_answer", [(answer or "")[:LONGEST_IN_TABLE] for answer in answers])
        if log_metric is not None and scores:
            log_metric("reasoning_gym/no_answer", answers.count(None) / len(answers))
            for why in Failure:
                log_metric(f"reasoning_gym/{why.value}", scores.count(why) / len(scores))
        return [0.0 if isinstance(score, Failure) else score for score in scores]


reasoning_gym_score = ReasoningGymScore()


def read_answers_as_literals() -> None:
    """Some scorers evaluate an answer as Python, for a list where they asked for a grid: a literal is all they get.

    Anything else could call what it likes, or name the variable that holds the right answer.
    """
    for task_class, _ in registered_tasks().values():
        if "eval(" in inspect.getsource(task_class.score_answer):
            sys.modules[task_class.__module__].eval = ast.literal_eval  # type: ignore[attr-defined]


def _task(entry: str) -> Any:
    task, options, _ = read_entry(entry)
    return _made(task, repr(options))


@cache
def _made(task: str, options: str) -> Any:
    return make_task(task, ast.literal_eval(options), seed=0)
