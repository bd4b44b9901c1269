"""Processes of Python alone, which start in a few milliseconds; `tests/cli/test_killed_commands.py` kills commands."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from prefix_rft_trl.utils.errors import WorkError
from prefix_rft_trl.utils.processes import call_in_process


# The parent's child waits, or computes in C what no other thread of Python can interrupt, and has a child of its own
CHILDREN = {
    "waits": "end_with_parent(); subprocess.Popen(['sleep', '60'], start_new_session=True); note(); time.sleep(60)",
    "computes": "end_with_parent(at_once=True); note(); 3 ** 10**9",
    "has not begun to watch": "note(); time.sleep(0.5); end_with_parent(); time.sleep(60)",
}
PARENT = """
import sys, time
from prefix_rft_trl.utils.processes import start_child
child = start_child([sys.executable, "-c", sys.argv[1], sys.argv[2]])
time.sleep(60)
"""
CHILD = """
import pathlib, subprocess, sys, time
from prefix_rft_trl.utils.processes import end_with_parent
note = pathlib.Path(sys.argv[1]).touch
"""


@pytest.fixture
def start_parent() -> Iterator[Callable[..., psutil.Process]]:
    """Starts a program, waits until it or its child has made a file, and in the end kills what it started."""
    found: list[psutil.Process] = []

    def start(program: str, noted: Path, *arguments: str, **options) -> psutil.Process:
        parent = psutil.Popen([sys.executable, "-c", program, *arguments, str(noted)], **options)
        found.append(parent)
        end = time.monotonic() + 30
        while not noted.exists():
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.01)
        found.extend(parent.children(recursive=True))
        return parent

    yield start
    for process in found:
        if process.is_running():
            process.kill()


@pytest.mark.parametrize("does", CHILDREN)
def test_child_and_its_children_end_with_a_killed_parent(tmp_path, start_parent, still_running, does):
    parent = start_parent(PARENT, tmp_path / "noted", CHILD + CHILDREN[does])
    time.sleep(0.2)  # well into what it does
    descendants = parent.children(recursive=True)
    assert len(descendants) == (2 if does == "waits" else 1)
    parent.kill()
    parent.wait()
    assert still_running(descendants) == []


def test_child_outlives_neither_its_parent_nor_its_handle(tmp_path):
    program = "from prefix_rft_trl.utils.processes import *; end_with_parent(); print('on', flush=True); input()"
    source = f"""
import subprocess, sys
from prefix_rft_trl.utils.processes import start_child
child = start_child([sys.executable, "-c", {program!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
child.communicate(b"x")
print(child.returncode)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", "a child of a parent that lives ends as it likes"


EXITS = """
import pathlib, sys, time
from prefix_rft_trl.utils.processes import exit_on_signals
try:
    with exit_on_signals():
        pathlib.Path(sys.argv[1]).touch()
        time.sleep(60)
finally:
    pathlib.Path(sys.argv[1]).unlink()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_is_an_exit_that_cleans_up(tmp_path, start_parent, number):
    parent = start_parent(EXITS, tmp_path / "noted")
    parent.send_signal(number)
    assert parent.wait(timeout=10) == 128 + number
    assert not (tmp_path / "noted").exists()


def test_hangup_stays_ignored_under_nohup(tmp_path, start_parent):
    parent = start_parent(EXITS, tmp_path / "noted", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    parent.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert parent.is_running()
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(timeout=10) == 128 + signal.SIGTERM


def test_the_call_of_a_process_that_is_killed_is_an_error_in_a_sentence():
    assert call_in_process(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        call_in_process(divmod, 1, 0)
    with pytest.raises(WorkError, match="exit code -9"):
        call_in_process(signal.raise_signal, signal.SIGKILL)
