"""A worker process that does not outlive the process that has started it, in a file that imports nothing slow."""

import os
from multiprocessing import active_children, parent_process
from threading import Thread


def end_with_parent() -> None:
    """Has this process end when its parent does, however that ends. A pool calls it before it gives out work: without
    a parent a worker would wait for that for ever."""
    Thread(target=_end_after_parent, daemon=True).start()


def end_workers() -> None:
    """Ends the workers of this process, and those that they have: engines are in sessions of their own."""
    import psutil

    for worker in active_children():
        try:
            for process in (*psutil.Process(worker.pid).children(recursive=True), worker):
                process.kill()
        except psutil.NoSuchProcess:
            continue


def _end_after_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        end_workers()
        os._exit(1)
