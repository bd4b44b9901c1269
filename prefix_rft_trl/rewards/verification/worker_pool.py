"""Worker processes that are kept and apply a function to many things, each with a hard time limit."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from enum import StrEnum
from multiprocessing import util
from typing import TYPE_CHECKING, Any, TypeVar

from .workers import SpawnWithoutMain


if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

Item = TypeVar("Item", bound=tuple[Any, ...])

MOST_WORKERS = 16
MOST_ATTEMPTS = 3  # in a row without a single result, to have workers that live

_BEFORE_CHILDREN_ARE_JOINED = 10  # at the exit of a process that multiprocessing has started, which waits for them
_SECONDS_BETWEEN_LOOKS = 1.0


class Failure(StrEnum):
    """Why there is no result: the function raised, took too long, or its process died."""

    RAISED = "raised"
    TIMEOUT = "timeout"
    CRASHED = "crashed"


def default_num_workers() -> int:
    """The processor cores of this process, shared with the other processes of a launch on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


class WorkerPool:
    """
    Worker processes that are started by the first call which needs them, and may be used from any thread.

    What takes too long ends its worker and nothing else; so does what brings its worker down.

    Args:
        function (`Callable`): what is applied, of a module that workers can import.
        prepare (`Callable`): what each worker does first; the time that it takes counts for nothing.
        num_workers (`int`, *optional*): defaults to [`default_num_workers`].
        time_limit (`float`): seconds that one thing may take.
    """

    def __init__(
        self, function: Callable[..., Any], prepare: Callable[..., None], num_workers: int | None, time_limit: float
    ):
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"`num_workers` is at least 1, found {num_workers}. Leave it out for one a core.")
        if not time_limit > 0:
            raise ValueError(f"`time_limit` is a number of seconds above 0, found {time_limit}.")
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
        """The function's value for each item, or a [`Failure`].

        Args:
            items (`Sequence[tuple]`): the arguments of each call, all different.
            progress (`str`, *optional*): what a progress bar is to say; without it there is none.
            prepare_with (`tuple`): the arguments of `prepare`, if workers have to be started.
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
                    for item, result in self._one_by_one([i for i in items if i not in results], prepare_with):
                        results[item] = result
                        bar.update()
                except RuntimeError as error:
                    # The pool gave up as a worker died between two items, or was closed meanwhile
                    attempts = attempts + 1 if len(results) == done else 0
                    if attempts == MOST_ATTEMPTS:
                        raise RuntimeError(
                            f"The worker processes of a reward do not live: {error}. What they printed is above; if "
                            "it is nothing, memory may have run out: lower `num_workers`."
                        ) from error
        return results

    def close(self) -> None:
        """Ends the workers; the next call that needs one starts new ones."""
        with self._lock:
            self._pool = None
            if self._end_pool is not None:
                self._end_pool()

    def __reduce__(self) -> tuple[Any, ...]:  # workers stay with the process that has started them
        return WorkerPool, (self.function, self.prepare, self.num_workers, self.time_limit)

    def _one_by_one(self, items: list[Item], prepare_with: tuple[Any, ...]) -> Iterator[tuple[Item, Any]]:
        pool = self.running(prepare_with)
        futures = [pool.schedule(self.function, args=item, timeout=self.time_limit) for item in items]
        for item, future in zip(items, futures, strict=True):
            yield item, _result_of(future, pool)

    def running(self, prepare_with: tuple[Any, ...] = ()) -> "ProcessPool":
        """The workers, started if they are not."""
        from pebble import ProcessPool

        with self._lock:
            if self._pool is None or not self._pool.active:
                if self._end_pool is not None:
                    self._end_pool()
                self._pool = ProcessPool(
                    self.num_workers, initializer=self.prepare, initargs=prepare_with, context=SpawnWithoutMain()
                )
                self._end_pool = util.Finalize(
                    None, _end, args=(self._pool,), exitpriority=_BEFORE_CHILDREN_ARE_JOINED
                )
            return self._pool


def _end(pool: "ProcessPool") -> None:
    pool.stop()
    pool.join()


def _result_of(future: "ProcessFuture", pool: "ProcessPool") -> Any:
    from pebble import ProcessExpired

    while not wait([future], timeout=_SECONDS_BETWEEN_LOOKS).done:
        if not pool.active:  # what it has not finished then stays so
            raise BrokenProcessPool("the pool of worker processes was closed")
    try:
        return future.result()
    except FutureTimeoutError:
        return Failure.TIMEOUT
    except ProcessExpired:
        return Failure.CRASHED
    except BrokenProcessPool:
        raise
    except Exception:  # of the function
        return Failure.RAISED
