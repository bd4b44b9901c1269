"""Apply a function to many items in long-lived worker processes, each item under a hard time limit."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from enum import StrEnum
from multiprocessing import util
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from prefix_rft_trl.utils.errors import WorkError
from prefix_rft_trl.utils.setting_types import check_type
from prefix_rft_trl.utils.shared_memory import check_semaphores

from .confinement import apply_limited, confined
from .workers import SpawnWithoutMain


if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

Item = TypeVar("Item", bound=tuple[Any, ...])

MOST_WORKERS = 16
MOST_SECONDS = 24 * 60 * 60
MOST_ATTEMPTS = 3  # in a row without a single result

# Exit priority that ends the workers before a process started by multiprocessing waits for its children
_BEFORE_CHILDREN_ARE_JOINED = 10
_POLL_SECONDS = 1.0
_MONOTONIC = SimpleNamespace(time=time.monotonic, sleep=time.sleep)


class Failure(StrEnum):
    """Why there is no result: the function raised, took too long, or its process died."""

    RAISED = "raised"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


def default_num_workers() -> int:
    """This process's share of the processor cores among the processes of a launch on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def check_time_limit(seconds: Any) -> None:
    """Raises `ValueError` if it is no positive number of seconds, or more than a day."""
    check_type("time_limit", float, seconds, 5.0)
    if not 0 < seconds <= MOST_SECONDS:
        raise ValueError(
            f"`time_limit` must be a positive number of seconds of at most {MOST_SECONDS:,}, found {seconds}."
        )


class WorkerPool:
    """
    Worker processes, started by the first call that needs them. Usable from any thread.

    An item that takes too long or crashes costs its own worker and nothing else. Workers are confined: see
    [`~prefix_rft_trl.rewards.verification.confinement`].

    Args:
        function (`Callable`): applied to each item; importable in a worker. Its results are what JSON can hold.
        prepare (`Callable`): does the imports of each new worker, outside the time limit.
        num_workers (`int`, *optional*): defaults to [`default_num_workers`].
        time_limit (`float`): seconds that one item may take.
    """

    def __init__(
        self, function: Callable[..., Any], prepare: Callable[..., None], num_workers: int | None, time_limit: float
    ):
        check_type("num_workers", int | None, num_workers, 8)
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"`num_workers` must be at least 1, found {num_workers}. Omit it for one a core.")
        check_time_limit(time_limit)
        check_semaphores()
        self.function = function
        self.prepare = prepare
        self.num_workers = num_workers or default_num_workers()
        self.time_limit = time_limit
        self._pool: ProcessPool | None = None
        self._end_pool: util.Finalize | None = None
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        return self._pool is not None and self._pool.active

    def results(
        self, items: Sequence[Item], progress: str | None = None, prepare_with: tuple[Any, ...] = ()
    ) -> dict[Item, Any]:
        """The function's result for each item, or a [`Failure`].

        Args:
            items (`Sequence[tuple]`): arguments of each call, all distinct.
            progress (`str`, *optional*): label of a progress bar; without it none is shown.
            prepare_with (`tuple`): arguments of `prepare`, in case workers are started.

        Raises:
            WorkError: if workers keep dying without a single result.
        """
        if not items:
            return {}
        from tqdm.auto import tqdm

        results: dict[Item, Any] = {}
        attempts = 0
        with tqdm(total=len(items), desc=progress, disable=progress is None) as bar:
            while len(results) < len(items):
                done = len(results)
                try:
                    for item, result in self._iterate([item for item in items if item not in results], prepare_with):
                        results[item] = result
                        bar.update()
                except RuntimeError as error:
                    # A worker died between two items, or the pool was closed meanwhile
                    attempts = attempts + 1 if len(results) == done else 0
                    if attempts == MOST_ATTEMPTS:
                        raise WorkError(
                            f"The worker processes of a reward keep dying: {error}. Their output is above; if there "
                            "is none, memory may have run out: lower `num_workers`."
                        ) from error
        return results

    def close(self) -> None:
        """End the workers; the next call that needs one starts new ones."""
        with self._lock:
            self._pool = None
            if self._end_pool is not None:
                self._end_pool()

    def __reduce__(self) -> tuple[Any, ...]:  # workers belong to the process that started them
        return WorkerPool, (self.function, self.prepare, self.num_workers, self.time_limit)

    def _iterate(self, items: list[Item], prepare_with: tuple[Any, ...]) -> Iterator[tuple[Item, Any]]:
        pool = self.running(prepare_with)
        call = (self.function, self.time_limit)
        futures = [pool.schedule(apply_limited, args=(*call, *item), timeout=self.time_limit) for item in items]
        for item, future in zip(items, futures, strict=True):
            yield item, _await_result(future, pool)

    def running(self, prepare_with: tuple[Any, ...] = ()) -> "ProcessPool":
        """The running workers, started if necessary."""
        import pebble.pool.process
        from pebble import ProcessPool

        with self._lock:
            if not self.is_running:
                if self._end_pool is not None:
                    self._end_pool()
                pebble.pool.process.time = _MONOTONIC  # type: ignore[assignment] # it limits by the wall clock
                self._pool = ProcessPool(
                    self.num_workers,
                    initializer=confined,
                    initargs=(self.prepare, *prepare_with),
                    context=SpawnWithoutMain(),
                )
                self._end_pool = util.Finalize(
                    None, _end, args=(self._pool,), exitpriority=_BEFORE_CHILDREN_ARE_JOINED
                )
            assert self._pool is not None
            return self._pool


def _end(pool: "ProcessPool") -> None:
    pool.stop()
    pool.join()


def _await_result(future: "ProcessFuture", pool: "ProcessPool") -> Any:
    from pebble import ProcessExpired

    while not wait([future], timeout=_POLL_SECONDS).done:
        if not pool.active:  # its unfinished futures never finish
            raise BrokenProcessPool("the pool of worker processes was closed")
    try:
        result = future.result()
        return json.loads(result)[0] if type(result) is str else Failure.RAISED
    except FutureTimeoutError:
        return Failure.TIMEOUT
    except ProcessExpired:
        return Failure.CRASHED
    except BrokenProcessPool:
        raise
    except Exception:  # also what is no JSON, or a list without a result
        return Failure.RAISED
