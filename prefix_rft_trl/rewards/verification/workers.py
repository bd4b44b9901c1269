"""Start worker processes, and bound the time of an answer in one.

Workers are spawned, because a fork of a process with threads or CUDA can hang. Unlike other spawned processes they do
not import the user's main module: a training script without a `__main__` guard would start to train in each of them.
"""

import multiprocessing
import multiprocessing.context
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


# The parser caches its grammar as it reads: the first answer of a kind takes ten times as long as the next
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

_main_lock = threading.Lock()


class _OutOfTime(BaseException):
    """Not an `Exception`: sympy catches those in places."""


class _SpawnedWithoutMain(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _main_lock, _without_main():
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


def prepare_worker() -> None:
    """Ready a new worker process: do its imports, and warm up its parser on the usual grammar."""
    from .equivalence import is_readable, judge
    from .two_stage_parsing import use_two_stage_parsing

    use_two_stage_parsing()
    for answer in WARM_UP:
        is_readable(answer)
    judge("x + 1", ("1 + x",))


def judge_in_time(answer: str, golds: Sequence[str], seconds: float) -> str:
    """The verdict of [`judge`], or `timeout` if it takes longer and Python code can be interrupted.

    The time limit of the worker, which ends everything else, is longer: an interrupted worker is ready again at once.
    """
    from .equivalence import Verdict, judge

    try:
        with _interrupt_after(seconds):
            return judge(answer, golds)
    except _OutOfTime:
        return Verdict.TIMEOUT
    except Exception:  # a computer algebra system can raise anything
        return Verdict.REFUSED


@contextmanager
def _interrupt_after(seconds: float) -> Iterator[None]:
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return

    def interrupt(*_: Any) -> None:
        raise _OutOfTime

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again, for a finalizer swallows what is raised in it
    try:
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        except _OutOfTime:  # the limit passed within this block
            signal.setitimer(signal.ITIMER_REAL, 0)
