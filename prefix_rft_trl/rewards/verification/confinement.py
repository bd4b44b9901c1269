"""Confine a worker process, so that an answer which gets past all checks takes nothing and leaves nothing.

A worker has no variables of the environment but the few that Python needs, an empty folder, a share of the memory, no
file that it may write, no output, and a limit of processor time for each answer. Once its imports are done it may
start no process, open no connection and change no file.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from prefix_rft_trl.utils.processes import end_with_parent


PATIENCE = 4  # times the time limit, in seconds of processor time, after which the system ends a worker
MOST_MEMORY = 4 * 2**30  # bytes of address space; a worker needs a tenth of it
KEPT_VARIABLES = (
    "CONDA", "DYLD_", "HOME", "LANG", "LC_", "LD_LIBRARY_PATH", "MKL_", "OMP_", "OPENBLAS_", "PATH", "PYTHON", "TMP",
    "TZ", "VIRTUAL_ENV",
)  # fmt: skip
FORBIDDEN_EVENTS = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "tempfile.", "winreg.")
READING_EVENTS = {"os.listdir", "os.scandir"}  # of imports
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confined(prepare: Callable[..., None], *arguments: Any) -> None:
    """Prepares a worker process and confines it: its first call."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the run, which ends its workers itself
    end_with_parent(at_once=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a Python handler would wait for a long computation in C
    _drop_environment()
    _limit("RLIMIT_AS", MOST_MEMORY)
    prepare(*arguments)
    _enter_empty_folder()
    _close_output()
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_CORE", 0)
    sys.addaudithook(_refuse)


def apply_limited(function: Callable[..., Any], seconds: float, *arguments: Any) -> Any:
    """The function's result, in a worker that the system ends after `PATIENCE` times as much processor time."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit("RLIMIT_CPU", int(used.ru_utime + used.ru_stime + PATIENCE * seconds) + 1, is_final=False)
    return function(*arguments)


def _limit(name: str, most: int, is_final: bool = True) -> None:
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        kind = getattr(resource, name)
        resource.setrlimit(kind, (most, most if is_final else resource.getrlimit(kind)[1]))


def _drop_environment() -> None:
    """Removes variables, and with them keys and tokens, also from the memory that the system shows of a process."""
    import ctypes

    with suppress(OSError, TypeError):
        library = ctypes.CDLL(None)
        library.getenv.restype = ctypes.c_void_p
        for name in [name for name in os.environ if not name.startswith(KEPT_VARIABLES)]:
            if place := library.getenv(os.fsencode(name)):
                ctypes.memset(place, 0, len(os.fsencode(os.environ[name])))
    for name in [name for name in os.environ if not name.startswith(KEPT_VARIABLES)]:
        del os.environ[name]


def _enter_empty_folder() -> None:
    """Moves to a folder that is removed at once: nothing is in it, and nothing can be put there."""
    sys.path[:] = [os.path.abspath(folder) for folder in sys.path]
    with suppress(OSError):
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        os.rmdir(folder)


def _close_output() -> None:
    """Has what a scorer prints go nowhere: it would show a model's text on the terminal."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        _, mode, flags = arguments
        is_forbidden = bool(flags & WRITING_FLAGS) or any(letter in (mode or "") for letter in "wax+")
    else:
        is_forbidden = event.startswith(FORBIDDEN_EVENTS) and event not in READING_EVENTS
    if is_forbidden:
        raise PermissionError(f"{event} in a worker that answers are verified in")
