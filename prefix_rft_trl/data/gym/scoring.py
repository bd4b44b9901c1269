"""Reward of reasoning-gym's tasks: the task's own scorer, run in worker processes that no answer can stop."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from prefix_rft_trl.rewards.answers import MARKERS, log_answers, stated_answer
from prefix_rft_trl.rewards.verification.worker_pool import Failure, WorkerPool

from .evaluators import find_evaluators
from .generating import read_entry
from .grammars import GRAMMARS, is_allowed
from .tasks import COMPOSITE, make_task


# Instead of a score: the answer does not follow the grammar; the task has none and needs one
REFUSED, UNCHECKED = "refused", "unchecked"


class ReasoningGymScore:
    r"""
    Scores a response with the scorer of its row's task: 1 for a right answer, and for some tasks a part of it for an
    answer that is partly right, or right in another form.

    The answer is taken from the last `<answer>` tags or `\boxed{}` or, without either, from behind the last marker,
    never from a closed thinking block. A response without an answer scores 0. So does one on which the scorer raises,
    takes too long, or crashes its process.

    Some scorers evaluate the answer as code. They only get what the grammar of their task allows, such as digits and
    operators; any other answer is refused and scores 0.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one per core, shared by the processes of a
            launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds per answer.
        unchecked_tasks (`Sequence[str]`, *optional*): tasks of a newer reasoning-gym, or of your own, whose scorers
            get every answer although they may run it as code, with what this process may do.
    """

    __name__ = "reasoning_gym_score"
    required_columns = ("entry",)
    answer_markers = MARKERS

    def __init__(
        self, num_workers: int | None = None, time_limit: float = 5.0, unchecked_tasks: str | Sequence[str] = ()
    ):
        self.unchecked_tasks = (unchecked_tasks,) if isinstance(unchecked_tasks, str) else tuple(unchecked_tasks)
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
            ValueError: if the rows are not from a dataset of reasoning-gym, or of a task without a grammar.
        """
        if entry is None:
            raise ValueError(
                "`reasoning_gym_score` finds no column 'entry'. It scores the rows of `dataset_name: "
                f"reasoning_gym/<task>`, and was given: {', '.join(columns) or 'none'}."
            )
        answers = [stated_answer(completion) for completion in completions]
        pairs = list(zip(answers, entry, strict=True))
        distinct = [(*pair, self.unchecked_tasks) for pair in dict.fromkeys(pairs) if pair[0] is not None]
        found = self.workers.results(distinct, prepare_with=tuple(entry[:1]))
        results = {(answer, row): result for (answer, row, _), result in found.items()}
        if unchecked := [row for (_, row), result in results.items() if result == UNCHECKED]:
            self.check_row({"entry": unchecked[0]})
        scores = [0.0 if pair[0] is None else results[pair] for pair in pairs]
        if log_extra is not None:
            log_answers(log_extra, answers)
        if log_metric is not None and scores:
            log_metric("reasoning_gym/no_answer", answers.count(None) / len(answers))
            for reason in (REFUSED, *Failure):
                log_metric(f"reasoning_gym/{reason}", scores.count(reason) / len(scores))
        return [0.0 if isinstance(score, str) else score for score in scores]

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Raises a ValueError if the scorer of a row's task may run answers as code and there is no grammar for it."""
        task, options, _ = read_entry(row["entry"])
        parts = options.get("datasets") if task == COMPOSITE else [{"name": task}]
        for name in [part["name"] for part in parts or []]:
            if name not in self.unchecked_tasks and is_unchecked(name):
                raise ValueError(_unchecked(name))


def is_unchecked(task: str) -> bool:
    """Whether a task's scorer may evaluate text, in a way for which there is no grammar."""
    return task not in GRAMMARS and bool(_evaluators(task))


@cache
def _evaluators(task: str) -> list[str]:
    return sorted(find_evaluators(make_task(task, {})))


def _unchecked(task: str) -> str:
    return (
        f"the scorer of reasoning-gym's task {task!r} may run an answer as code ({', '.join(_evaluators(task))}), and "
        "there is no grammar to check answers by. Take another task, or, if you know that it is safe, set "
        f"`reward_kwargs: {{reasoning_gym_score: {{unchecked_tasks: [{task}]}}}}`."
    )


# In the worker processes


def prepare_worker(entry: str) -> None:
    """Makes the task of an entry, which may take longer than an answer is allowed to."""
    with suppress(Exception):  # scoring the answer raises it again, and counts it
        is_unchecked(_task_and_item(entry)[0])


def score_answer(answer: str, entry: str, unchecked_tasks: Sequence[str] = ()) -> float | str:
    """The score that the task of an entry gives an answer; `REFUSED`, or `UNCHECKED` if it has no grammar."""
    name, task, item = _task_and_item(entry)
    if name not in unchecked_tasks:
        if is_unchecked(name):
            return UNCHECKED
        if not is_allowed(answer, item, GRAMMARS.get(name)):
            return REFUSED
    score = float(task.score_answer(answer, item))
    if not math.isfinite(score):
        raise ValueError(f"a score of {score}")
    return score


def _task_and_item(entry: str) -> tuple[str, Any, dict[str, Any]]:
    """Name, scorer and problem of an entry; those of the part that a problem of a mixture is from."""
    name, options, item = read_entry(entry)
    task = _cached_task(name, repr(options))
    if name == COMPOSITE:
        name = item["metadata"]["source_dataset"]
        task = task.datasets[name]
    return name, task, item


@cache
def _cached_task(task: str, options: str) -> Any:
    return make_task(task, ast.literal_eval(options), seed=0)
