"""What happens in a worker process that scores answers of reasoning-gym.

Some scorers hand what the policy wrote to sympy, which can compute for hours on a few characters.
"""

import ast
import inspect
import math
import sys
from contextlib import suppress
from functools import cache
from typing import Any

from prefix_rft_trl.rewards.verification.workers import limit_worker

from .generating import read_entry
from .tasks import make_task, registered_tasks


def prepare_worker(entry: str) -> None:
    """Readies a worker process: it is limited, and the task of an entry is made, which can take longer than an answer
    may.
    """
    limit_worker()
    read_answers_as_literals()
    with suppress(Exception):  # the answer will say it
        _task(entry)


def score_answer(answer: str, entry: str) -> float:
    """What the scorer of a row's task says of an answer, in the worker."""
    score = float(_task(entry).score_answer(answer, read_entry(entry)[2]))
    if not math.isfinite(score):
        raise ValueError(f"a score of {score}")
    return score


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
