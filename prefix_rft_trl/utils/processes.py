"""Processes that do not outlive their parent, and signals. Imports nothing slow: every worker imports it first."""

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from .errors import WorkError


PARENT = "PREFIX_RFT_PARENT"  # number of a pipe that ends with the process which started this one


def start_child(
    args: Sequence[str], env: Mapping[str, str] | None = None, pass_fds: Collection[int] = (), **options: Any
) -> subprocess.Popen[Any]:
    """
    Starts a program that ends with this process: it has to call [`end_with_parent`].

    Args:
        args, env, pass_fds, options: as those of `subprocess.Popen`.
    """
    reading, writing = os.pipe()
    environment = {**(os.environ if env is None else env), PARENT: str(reading)}
    try:
        process = subprocess.Popen(args, env=environment, pass_fds=[*pass_fds, reading], **options)
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    weakref.finalize(process, os.close, writing)
    return process


def end_with_parent(at_once: bool = False) -> None:
    """
    Makes this process exit when its parent does, even if the parent is killed, and kill its own descendants then.

    Called at the start of a process that [`start_child`] or multiprocessing has started.

    Args:
        at_once (`bool`): whether the system ends this process, which has no descendants, even while it computes
            something in C that no other thread of Python can interrupt.
    """
    pipe = _pipe_from_parent()
    if pipe is None:
        return
    if at_once:
        with suppress(ImportError, AttributeError, OSError):  # the system can do without
            import fcntl

            fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())  # gets SIGIO when the pipe ends
            fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_exit_after, args=[pipe, not at_once], daemon=True).start()


def put_current_folder_last() -> None:
    """Has modules of the current folder hide no package: `python -m` puts that folder first on the path."""
    if sys.path[:1] in ([""], [os.getcwd()]):
        sys.path.append(sys.path.pop(0))


@contextmanager
def handled_signals(handle: Callable[[int, Any], None], *numbers: signal.Signals) -> Iterator[None]:
    """Has a function handle signals while the block runs, in the main thread. `nohup` makes SIGHUP an exception."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in without_ignored_hangup(numbers)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def without_ignored_hangup(numbers: Sequence[signal.Signals]) -> list[signal.Signals]:
    """These signals, without SIGHUP where this process was started to outlive its terminal."""
    return [number for number in numbers if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into an exit that removes what is half written and ends children, as Ctrl-C does."""

    this_process = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != this_process:  # a forked worker has nothing of its own to remove
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        leave_closed_terminal()
        sys.exit(128 + number)

    with handled_signals(end, signal.SIGTERM, signal.SIGHUP):
        yield


def leave_closed_terminal() -> None:
    """Has what is printed go nowhere if it went to a terminal that is closed, where to print is an error."""
    for stream in (1, 2):
        try:
            os.write(stream, b"")
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def call_in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """
    Calls a function of a module in a process of its own, which ends with this one, and with an exception here.

    Ctrl-C does not reach that process: this one ends it.

    Returns:
        what the function returns. What it raises is raised here.

    Raises:
        WorkError: if the process is killed.
    """
    context = get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sending, function, *arguments))
    resource_tracker.ensure_running()  # which would unblock signals
    try:
        with _blocked(signal.SIGINT):  # the process inherits that
            process.start()
        sending.close()
        result, error = receiving.recv()
        process.join()
    except EOFError:
        process.join()
        raise WorkError(
            f"a process of this command has ended with the exit code {process.exitcode}. -9 often means that the "
            "machine ran out of memory."
        ) from None
    except BaseException:
        end_workers()
        raise
    if error is not None:
        raise error
    return result


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """A signal that comes while the block runs has its effect after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send_result(pipe: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    import traceback

    end_with_parent()
    try:
        outcome: tuple[Any, Any] = function(*arguments), None
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))  # which is not sent
        outcome = None, error
    pipe.send(outcome)


def end_workers() -> None:
    """Kills the workers of this process and their descendants, also those in sessions of their own (vLLM engines)."""
    for worker in active_children():
        kill_with_descendants(worker)


def kill_with_descendants(process: Any) -> None:
    """Kills a process of `subprocess` or multiprocessing, and all that descend from it."""
    _kill_descendants(process.pid)
    process.kill()


def _kill_descendants(pid: int | None) -> None:
    import psutil

    try:
        descendants = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in descendants:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _pipe_from_parent() -> int | None:
    if (number := os.environ.pop(PARENT, None)) is not None:  # not for the children of this process
        return int(number)
    parent = parent_process()
    return None if parent is None else parent.sentinel  # type: ignore[attr-defined]


def _exit_after(pipe: int, has_descendants: bool) -> None:
    wait([pipe])
    if has_descendants:
        _kill_descendants(os.getpid())
    os._exit(1)
