"""Reward right final answers: by Math-Verify in worker processes that no answer can hang, or by the last number."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from .answers import LONGEST_RESPONSE, MARKERS, acceptable_golds, completion_text, log_answers, stated_answer
from .verification.equivalence import Verdict
from .verification.verifier import Verifier


_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class MathAccuracyReward:
    r"""
    Reward 1 for a right final answer, 0 for a wrong or missing one, `None` for a row without a readable right answer.

    The final answer is the last `\boxed{}` or `<answer></answer>` or, without either, what follows the last marker;
    once a thinking block is closed, nothing inside it counts. Math-Verify compares answers in worker processes that
    are reused across steps; see [`Verifier`]. An answer that runs into the time limit, is too large to be computed
    with, or crashes its worker counts as wrong.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one a core, shared by the processes of a launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds that an answer may take.
        answer_markers (`Sequence[str]`, *optional*): phrases that introduce an answer where there is no box; defaults
            to `####`, `answer is` and `answer:`. If empty, only boxes and tags count.
        solution_column (`str`, *optional*, defaults to `"solution"`): column of the right answers: text, a number, or
            a list of either of which any one is right; bare, in dollar signs, in `\boxed{}`, or behind `####`.
    """

    __name__ = "math_accuracy_reward"

    def __init__(
        self,
        num_workers: int | None = None,
        time_limit: float = 5.0,
        answer_markers: Sequence[str] = MARKERS,
        solution_column: str = "solution",
    ):
        self.answer_markers = (answer_markers,) if isinstance(answer_markers, str) else tuple(answer_markers)
        self.solution_column = solution_column
        self.verifier = Verifier(num_workers, time_limit)

    def __call__(
        self,
        completions: Sequence[str | list[dict[str, Any]]],
        log_extra: Callable[[str, list[Any]], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """The reward of each completion, text or messages.

        The trainer passes `log_extra`, which receives the extracted answers for the completions table, and
        `log_metric`, which receives the shares of unreadable right answers, of responses without an answer, and of
        timeouts, refusals and crashes.

        Raises:
            ValueError: if the column of the right answers is missing.
        """
        if self.solution_column not in columns:
            raise ValueError(
                f"`math_accuracy_reward` reads the right answers in the column '{self.solution_column}', and the "
                f"dataset has: {', '.join(columns)}. Set `solution_column`, or rename the dataset's column."
            )
        answers = [stated_answer(completion, self.answer_markers) for completion in completions]
        golds = [acceptable_golds(solution) for solution in columns[self.solution_column]]
        verdicts = self.verifier.verify(list(zip(answers, golds, strict=True)))
        if log_extra is not None:
            log_answers(log_extra, answers)
        if log_metric is not None and verdicts:
            for name, share in _shares(answers, verdicts).items():
                log_metric(f"math_accuracy/{name}", share)
        return [_reward(verdict) for verdict in verdicts]

    def equal_answers(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """For each pair of final answers, whether the second is right where the first is the right answer.

        `None` if that takes longer than the time limit or crashes a worker.
        """
        undecided = (Verdict.TIMEOUT, Verdict.CRASHED)
        verdicts = self.verifier.verify([(found, (right,)) for right, found in pairs])
        return [None if verdict in undecided else verdict is Verdict.EQUAL for verdict in verdicts]


def _reward(verdict: Verdict) -> float | None:
    return None if verdict is Verdict.UNREADABLE_GOLD else float(verdict is Verdict.EQUAL)


def _shares(answers: list[str | None], verdicts: list[Verdict]) -> dict[str, float]:
    logged = (Verdict.UNREADABLE_GOLD, Verdict.TIMEOUT, Verdict.REFUSED, Verdict.CRASHED)
    shares = {verdict.value: verdicts.count(verdict) / len(verdicts) for verdict in logged}
    return {**shares, "no_answer": answers.count(None) / len(answers)}


math_accuracy_reward = MathAccuracyReward()


def gsm8k_final_number(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float | None]:
    """Reward 1 if the last number of a response equals the one after `####` in the row's `answer`, as in GSM8K.

    In a response with a `####` of its own, only the text after it is read. A response without a number is wrong, and
    a row whose answer has none gives `None`.
    """
    rewards: list[float | None] = []
    for completion, gold in zip(completions, answer, strict=True):
        right = None if gold is None else _last_number(str(gold))
        rewards.append(None if right is None else float(_last_number(completion_text(completion)) == right))
    return rewards


def _last_number(text: str) -> float | None:
    numbers = _NUMBER.findall(text.rstrip()[-LONGEST_RESPONSE:].rpartition("####")[2])
    return float(numbers[-1].replace(",", "")) if numbers else None


def _number_as_text(text: str) -> str | None:
    number = _last_number(text)
    return None if number is None else repr(number)  # in one spelling


gsm8k_final_number.final_answer = _number_as_text  # type: ignore[attr-defined]
