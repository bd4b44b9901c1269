"""Confine a worker process, so that an answer which gets past all checks takes nothing and leaves nothing.

A worker has no variables of the environment but the few that Python needs, an empty folder, a share of the memory, no
file that it may write, no output, and a limit of processor time for each answer. Once its imports are done it may
start no process, open no connection and change no file, and a result leaves it as text.

All this is a second layer behind the checks of answers, and no sandbox: code that does run in a worker is a process of
this user and has all of Python and its memory to find a way out.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from prefix_rft_trl.utils.processes import end_with_parent


PATIENCE = 4  # times the time limit, in seconds of processor time, after which the system ends a worker
MOST_MEMORY = 4 * 2**30  # bytes of address space; a worker needs a tenth of it
KEPT_VARIABLES = (
    "CONDA", "DYLD_", "HOME", "LANG", "LC_", "LD_LIBRARY_PATH", "MKL_", "OMP_", "OPENBLAS_", "PATH", "PYTHON", "TMP",
    "TZ", "VIRTUAL_ENV",
)  # fmt: skip
FORBIDDEN_EVENTS = (
    "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "tempfile.", "winreg.", "fcntl.", "sqlite3.", "gc.",
    "resource.prlimit",
)  # fmt: skip
READING_EVENTS = {"os.listdir", "os.scandir"}  # of imports
UNAUDITED = {  # that raise no event, by module
    "_posixsubprocess": ("fork_exec",),
    "_signal": ("pidfd_send_signal",),
    "posix": ("chroot", "mkfifo", "mknod", "pidfd_open", "sched_setaffinity", "setns", "setpriority", "unshare"),
    "ctypes": ("memmove", "memset"),
    "_imp": ("create_builtin",),
}
# Modules that would bring them back, or other interpreters, in which there is no hook
FORBIDDEN_IMPORTS = ("_posixsubprocess", "_signal", "_ctypes", "_cffi", "_dbm", "_gdbm", "_interp", "_test", "_xx")
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
    _remove_unaudited()
    sys.addaudithook(_refusal())


def apply_limited(function: Callable[..., Any], seconds: float, *arguments: Any) -> str:
    """The function's result, in a worker that the system ends after `PATIENCE` times as much processor time.

    It is JSON, a list with the result, or an empty one if the function raised: an object, also an exception, says
    itself what the process that unpickles it runs.
    """
    with suppress(ImportError, ValueError, OSError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit("RLIMIT_CPU", int(used.ru_utime + used.ru_stime + PATIENCE * seconds) + 1, is_final=False)
    try:
        return json.dumps([function(*arguments)])
    except BaseException:  # an answer may exit, too
        return "[]"


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
    for written in filter(None, (sys.stdout, sys.stderr)):
        written.flush()  # what the imports have said
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _remove_unaudited() -> None:
    for name in sys.builtin_module_names:  # none has to be made later
        if not name.startswith(FORBIDDEN_IMPORTS):
            import_module(name)
    found = set()
    for name, functions in UNAUDITED.items():
        with suppress(ImportError):
            found |= {id(value) for function, value in vars(import_module(name)).items() if function in functions}
    for module in [*sys.modules.values()]:
        names = getattr(module, "__dict__", {})
        for name in [name for name, value in names.items() if id(value) in found]:
            del names[name]


def _refusal() -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook. It looks up nothing outside of itself, where code in an answer could change it."""
    events, reading, imports, writing = FORBIDDEN_EVENTS, READING_EVENTS, FORBIDDEN_IMPORTS, WRITING_FLAGS
    hidden = (["proc"], ["dev"]) if os.name == "posix" else ()  # other processes, and descriptors of folders
    kind, text, descriptor = type, str, int

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        is_forbidden = event.startswith(events) and event not in reading
        if event == "import":
            is_forbidden = arguments[0].rpartition(".")[2].startswith(imports)
        elif event == "open":
            path, mode, flags = arguments
            is_forbidden = bool(flags & writing) or not {*(mode or "")}.isdisjoint("wax+")
            if hidden and kind(path) is not descriptor:
                parts = path.split("/") if kind(path) is text else [".."]
                first = [part for part in parts if part not in ("", ".")][:1]
                is_forbidden |= parts[0] != "" or ".." in parts or first in hidden
        if is_forbidden:
            raise PermissionError(f"{event} in a worker that answers are verified in")

    return refuse
