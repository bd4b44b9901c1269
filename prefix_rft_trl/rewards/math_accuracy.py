"""Whether a response's final answer is right: Math-Verify in worker processes that no answer can hang."""

from collections.abc import Callable, Sequence
from typing import Any

from .answers import MARKERS, stated_answer
from .golds import acceptable_golds
from .verification.equivalence import Verdict
from .verification.verifier import Verifier


LONGEST_IN_TABLE = 80  # characters of an answer in the completions table


class MathAccuracyReward:
    r"""
    1 if the final answer of a response is a right one, 0 if it is not or if there is none, `None` if no right answer
    of the row can be read.

    The final answer is the last `\boxed{}` or `<answer></answer>` or, without either, what follows the last marker;
    what stands inside a thinking block is not one once the block is closed. Answers are compared by Math-Verify in
    worker processes, which are kept between steps; see [`Verifier`]. An answer that runs into the time limit, that is
    too large to be computed with or that brings its worker down counts as wrong.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one a core, shared by the processes of a launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds that an answer may take.
        answer_markers (`Sequence[str]`, *optional*): what an answer stands behind where there is no box; defaults to
            `####`, `answer is` and `answer:`. Empty: boxes and tags alone count.
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

        `log_extra` and `log_metric` come from the trainer: the answers that were read go to the completions table, and
        the shares of unreadable right answers, of responses without an answer, of timeouts, refusals and crashes to
        the log.

        Raises:
            ValueError: if the column of the right answers is missing.
        """
        if self.solution_column not in columns:
            raise ValueError(
                f"`math_accuracy_reward` finds no column '{self.solution_column}' with the right answers; it was "
                f"given: {', '.join(columns)}. Name it by `solution_column`, or rename the dataset's."
            )
        answers = [stated_answer(completion, self.answer_markers) for completion in completions]
        golds = [acceptable_golds(solution) for solution in columns[self.solution_column]]
        verdicts = self.verifier.verify(list(zip(answers, golds, strict=True)))
        if log_extra is not None:
            log_extra("extracted_answer", [(answer or "")[:LONGEST_IN_TABLE] for answer in answers])
        if log_metric is not None and verdicts:
            for name, share in _shares(answers, verdicts).items():
                log_metric(f"math_accuracy/{name}", share)
        return [_reward(verdict) for verdict in verdicts]


def _reward(verdict: Verdict) -> float | None:
    return None if verdict is Verdict.UNREADABLE_GOLD else float(verdict is Verdict.EQUAL)


def _shares(answers: list[str | None], verdicts: list[Verdict]) -> dict[str, float]:
    counted = (Verdict.UNREADABLE_GOLD, Verdict.TIMEOUT, Verdict.REFUSED, Verdict.CRASHED)
    shares = {verdict.value: verdicts.count(verdict) / len(verdicts) for verdict in counted}
    return {**shares, "no_answer": sum(answer is None for answer in answers) / len(answers)}


math_accuracy_reward = MathAccuracyReward()
