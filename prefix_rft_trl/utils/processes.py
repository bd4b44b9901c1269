"""Worker processes that do not outlive their parent. Imports nothing slow: every worker imports it first."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from threading import Thread
from typing import Any


def end_with_parent() -> None:
    """Makes this process exit when its parent does, even if the parent is killed.

    Called at the start of a worker, which would otherwise wait for work forever.
    """
    Thread(target=_exit_after_parent, daemon=True).start()


@contextmanager
def handled_signals(handle: Callable[[int, Any], None], *numbers: signal.Signals) -> Iterator[None]:
    """Has a function handle signals while the block runs."""
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_workers() -> None:
    """Kills the workers of this process and their descendants, also those in sessions of their own (vLLM engines)."""
    for worker in active_children():
        import psutil

        try:
            for process in (*psutil.Process(worker.pid).children(recursive=True), worker):
                process.kill()
        except psutil.NoSuchProcess:
            continue


def _exit_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        end_workers()
        os._exit(1)
