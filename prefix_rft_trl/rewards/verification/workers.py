"""What happens in and around a worker process: how it is started, what it may use, how long an answer may take.

Workers are spawned: a fork of a process with threads or CUDA can hang. They do not import the user's main module, as
spawned processes do otherwise: a training script without a `__main__` guard would start to train in each of them.
"""

import multiprocessing
import multiprocessing.context
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from prefix_rft_trl.utils.processes import end_with_parent


# The parser learns its grammar from what it reads: the first answer of a kind takes it ten times as long as the next
WARM_UP = (
    r"\frac{2}{4}",
    r"-\dfrac{3\sqrt{2}}{5}",
    r"2\sqrt[3]{7}-1",
    r"\left(3, \frac{\pi}{2}\right)",
    r"[-2, 7) \cup (9, \infty)",
    r"\left[-\frac{1}{2}, \sqrt{8}\right]",
    r"\{1 \pm \sqrt{5}, -2\}",
    r"1, -1, \frac{3 + \sqrt{21}}{2}",
    r"(1, 0), (\frac{1}{100}, -8), (100, 8)",
    r"x^{3} - 2x^2 + \frac{x}{3} - 4",
    r"x = \frac{\pi}{6} + 2\pi k",
    r"f(x) = \left\lfloor\frac{2 n}{3}\right\rfloor + 1",
    r"x \in [-2, 7]",
    r"\sin^2(x) + \cos 2x",
    r"2^{n-1} \cdot n! + \binom{n}{2}",
    r"\log_{2} 3 + \ln(x) - e^{-x}",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
    r"90^{\circ}",
    r"12.5\%",
    r"(a+5)(b+2) - |c|",
    r"3 + 4i",
    r"1 < x \le 5",
    r"10\text{ cm}^2",
    "52_8",
)

PATIENCE = 4  # times the limit of Python code, after which a worker that nobody else has ended is ended by the system
MOST_MEMORY = 4 * 2**30  # bytes of address space; a worker needs a tenth of it

_main_is_hidden = threading.Lock()


class _OutOfTime(BaseException):
    """Not an `Exception`, which sympy catches in places."""


class _SpawnedWithoutMain(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _main_is_hidden, _without_main():
            return multiprocessing.context.SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class SpawnWithoutMain(multiprocessing.context.SpawnContext):
    Process = _SpawnedWithoutMain


@contextmanager
def _without_main() -> Iterator[None]:
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def limit_worker() -> None:
    """Sees to it that a worker can be ended at once, ends with its parent, and cannot take all memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a user stops the run, which needs its workers until then
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a handler of Python's would wait for the end of a long power
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def prepare_worker() -> None:
    """Readies a new worker process: it is limited, its imports are done, and its parser knows the usual grammar."""
    limit_worker()
    from .equivalence import is_readable, judge
    from .two_stage_parsing import use_two_stage_parsing

    use_two_stage_parsing()
    for answer in WARM_UP:
        is_readable(answer)
    judge("x + 1", ("1 + x",))


def judge_in_time(answer: str, golds: Sequence[str], seconds: float) -> str:
    """The verdict of [`judge`] or, where it takes longer, `timeout`, as far as Python code can be interrupted.

    The time limit of the worker, which ends all else, is longer: a worker that lives on is ready at once.
    """
    from .equivalence import Verdict, judge

    try:
        with _interrupted_after(seconds):
            return judge(answer, golds)
    except _OutOfTime:
        return Verdict.TIMEOUT
    except Exception:  # what a computer algebra system can raise on an answer is without end
        return Verdict.REFUSED


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return

    def interrupt(*_: Any) -> None:
        raise _OutOfTime

    signal.signal(signal.SIGALRM, interrupt)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
