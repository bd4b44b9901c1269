"""Verify many answers in worker processes, each distinct pair of answer and right answers once."""

import hashlib
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any

from .equivalence import HOW_IS_IT_READ, Verdict, settle
from .worker_pool import Failure, WorkerPool
from .workers import judge_in_time, prepare_worker


Pair = tuple[str, tuple[str, ...]]

MOST_REMEMBERED = 100_000  # verdicts, by 16 bytes each: the texts themselves can be of any length

_PYTHON_SHARE = 0.8  # of the time limit, after which Python code is interrupted; anything else ends with its worker
_FINAL = {Verdict.EQUAL, Verdict.DIFFERENT, Verdict.REFUSED, Verdict.UNREADABLE_GOLD, Verdict.READ_IN_PART}
_FAILURE_VERDICTS = {
    Failure.TIMEOUT: Verdict.TIMEOUT,
    Failure.CRASHED: Verdict.CRASHED,
    Failure.RAISED: Verdict.REFUSED,
}


class Verifier:
    """
    Verify answers in worker processes, which the first answer that needs one starts. Usable from any thread.

    An answer that takes too long or crashes costs at worst its own worker.

    Args:
        num_workers (`int`, *optional*): worker processes; defaults to one a core, shared by the processes of a launch.
        time_limit (`float`, *optional*, defaults to 5.0): seconds that an answer may take.
    """

    def __init__(self, num_workers: int | None = None, time_limit: float = 5.0):
        self.workers = WorkerPool(judge_in_time, prepare_worker, num_workers, time_limit)
        self._known: dict[bytes, Verdict] = {}
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
        """The verdict of each answer. Identical pairs are verified once, and verdicts are remembered.

        Args:
            pairs: an answer, `None` if the response states none, and its right answers, from [`acceptable_golds`].
            progress (`str`, *optional*): label of a progress bar; without it none is shown.
        """
        requested = [(answer or "", golds) for answer, golds in pairs]
        found = {pair: self._known.get(_digest(pair)) or _settle(pair) for pair in dict.fromkeys(requested)}
        verdicts = {pair: verdict for pair, verdict in found.items() if verdict is not None}
        verdicts |= self._verify_in_workers([pair for pair in found if pair not in verdicts], progress)
        self._remember(verdicts)
        return [verdicts[pair] for pair in requested]

    def unreadable(self, golds: Sequence[tuple[str, ...]], progress: str | None = None) -> list[bool]:
        """For each row, whether none of its right answers can be read, so that no response can be verified."""
        verdicts = self.verify([(None, row_golds) for row_golds in golds], progress)
        return [verdict is not Verdict.DIFFERENT for verdict in verdicts]

    def read_in_part(self, golds: Sequence[tuple[str, ...]], progress: str | None = None) -> list[bool]:
        """For each row, whether one of its right answers has a part that is not read: it is compared as text."""
        asked = [("" if settle("", row_golds) else HOW_IS_IT_READ, row_golds) for row_golds in golds]
        return [verdict is Verdict.READ_IN_PART for verdict in self.verify(asked, progress)]

    def close(self) -> None:
        """End the workers; the next answer that needs one starts new ones."""
        self.workers.close()

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Verifier, (self.num_workers, self.time_limit)

    def _verify_in_workers(self, pairs: list[Pair], progress: str | None) -> dict[Pair, Verdict]:
        python_limit = _PYTHON_SHARE * self.time_limit
        results = self.workers.results([(*pair, python_limit) for pair in pairs], progress)
        return {
            (answer, golds): _FAILURE_VERDICTS[result] if isinstance(result, Failure) else Verdict(result)
            for (answer, golds, _), result in results.items()
        }

    def _remember(self, verdicts: dict[Pair, Verdict]) -> None:
        with self._lock:
            self._known |= {_digest(pair): verdict for pair, verdict in verdicts.items() if verdict in _FINAL}
            for oldest in [*islice(self._known, max(0, len(self._known) - MOST_REMEMBERED))]:
                del self._known[oldest]


def _digest(pair: Pair) -> bytes:
    return hashlib.blake2b(repr(pair).encode("utf-8", "backslashreplace"), digest_size=16).digest()


def _settle(pair: Pair) -> Verdict | None:
    return settle(*pair) if pair[1] else Verdict.UNREADABLE_GOLD
