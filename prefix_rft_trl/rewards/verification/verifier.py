"""Verification of many answers in worker processes, each pair of an answer and its right answers once."""

import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any

from .equivalence import Verdict, settle
from .worker_pool import Failure, WorkerPool
from .workers import judge_in_time, prepare_worker


Pair = tuple[str, tuple[str, ...]]

MOST_REMEMBERED = 100_000

_SHARE_OF_PYTHON = 0.8  # of the time limit, after which Python code is interrupted; all else is ended at its end
_FINAL = {Verdict.EQUAL, Verdict.DIFFERENT, Verdict.REFUSED, Verdict.UNREADABLE_GOLD}
_OF_FAILURE = {
    Failure.TIMEOUT: Verdict.TIMEOUT,
    Failure.CRASHED: Verdict.CRASHED,
    Failure.RAISED: Verdict.REFUSED,
}


class Verifier:
    """
    Tells right answers from wrong ones in worker processes, which are started by the first answer that needs them.

    It may be used from any thread. An answer that takes too long ends its worker at worst and nothing else; so does
    one that brings its worker down.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one a core, shared by the processes of a launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds that an answer may take.
    """

    def __init__(self, num_workers: int | None = None, time_limit: float = 5.0):
        self.workers = WorkerPool(judge_in_time, prepare_worker, num_workers, time_limit)
        self._known: dict[Pair, Verdict] = {}
        self._lock = threading.Lock()

    @property
    def num_workers(self) -> int:
        return self.workers.num_workers

    @property
    def time_limit(self) -> float:
        return self.workers.time_limit

    def verify(
        self, pairs: Sequence[tuple[str | None, tuple[str, ...]]], progress: str | None = None
    ) -> list[Verdict]:
        """The verdict of each answer. Identical pairs are verified once, and what was verified is remembered.

        Args:
            pairs: of an answer, `None` where a response has none, and the right answers, from [`acceptable_golds`].
            progress (`str`, *optional*): what a progress bar is to say; without it there is none.
        """
        asked = [(answer or "", golds) for answer, golds in pairs]
        found = {pair: self._known.get(pair) or _at_once(pair) for pair in dict.fromkeys(asked)}
        verdicts = {pair: verdict for pair, verdict in found.items() if verdict is not None}
        verdicts |= self._in_workers([pair for pair in found if pair not in verdicts], progress)
        self._remember(verdicts)
        return [verdicts[pair] for pair in asked]

    def unreadable(self, golds: Sequence[tuple[str, ...]], progress: str | None = None) -> list[bool]:
        """Whether none of a row's right answers can be read, so that nothing can be verified against them."""
        verdicts = self.verify([(None, of_row) for of_row in golds], progress)
        return [verdict is not Verdict.DIFFERENT for verdict in verdicts]

    def close(self) -> None:
        """Ends the workers; the next answer that needs one starts new ones."""
        self.workers.close()

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Verifier, (self.num_workers, self.time_limit)

    def _in_workers(self, pairs: list[Pair], progress: str | None) -> dict[Pair, Verdict]:
        python_limit = _SHARE_OF_PYTHON * self.time_limit
        results = self.workers.results([(*pair, python_limit) for pair in pairs], progress)
        return {
            (answer, golds): _OF_FAILURE[result] if isinstance(result, Failure) else Verdict(result)
            for (answer, golds, _), result in results.items()
        }

    def _remember(self, verdicts: dict[Pair, Verdict]) -> None:
        with self._lock:
            self._known |= {pair: verdict for pair, verdict in verdicts.items() if verdict in _FINAL}
            for oldest in [*islice(self._known, max(0, len(self._known) - MOST_REMEMBERED))]:
                del self._known[oldest]


def _at_once(pair: Pair) -> Verdict | None:
    return settle(*pair) if pair[1] else Verdict.UNREADABLE_GOLD
