"""Shared memory, which processes need to work together: in a container it can be missing or full."""

from multiprocessing import get_context


def check_semaphores() -> None:
    """Makes a semaphore, as every pool of processes does.

    Raises:
        ValueError: if the system gives none.
    """
    try:
        get_context("fork").Lock()  # of those that are started otherwise, each keeps one more process
    except (OSError, ImportError) as error:
        raise ValueError(
            f"worker processes cannot be started, because shared memory (/dev/shm) cannot be written: {error}. Make "
            "room in it, or give the container more: `docker run --shm-size 8g`."
        ) from error
