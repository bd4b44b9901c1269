import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from prefix_rft_trl.rewards.verification import equivalence
from prefix_rft_trl.rewards.verification.confinement import MOST_MEMORY
from prefix_rft_trl.rewards.verification.workers import SpawnWithoutMain, judge_in_time


def eval_in_worker(verifier, expression: str):
    return verifier.workers.running().schedule(eval, args=(expression,)).result(timeout=60)


def test_workers_import_neither_torch_nor_the_users_script(verifier):
    assert verifier.verify([("x + 1", ("1 + x",))]) == ["equal"]
    loaded = set(eval_in_worker(verifier, "[*__import__('sys').modules]"))
    assert "math_verify" in loaded
    assert not loaded & {"torch", "transformers", "trl", "datasets", "accelerate", "matplotlib", "pytest", "_pytest"}


def test_workers_cannot_take_all_memory(verifier):
    resource = pytest.importorskip("resource")
    limits = eval_in_worker(verifier, f"__import__('resource').getrlimit({resource.RLIMIT_AS})")
    assert limits == (MOST_MEMORY, MOST_MEMORY)
    with pytest.raises(MemoryError):
        eval_in_worker(verifier, f"len(b'0' * {MOST_MEMORY})")
    assert verifier.verify([("x + 2", ("2 + x",))]) == ["equal"]


def test_starting_a_worker_leaves_the_main_module_in_place():
    main = sys.modules["__main__"]
    worker = SpawnWithoutMain().Process(target=int)
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert sys.modules["__main__"] is main


def run(script: Path, source: str) -> subprocess.CompletedProcess:
    script.write_text(source)
    return subprocess.run([sys.executable, script], cwd=script.parent, capture_output=True, text=True, timeout=60)


def test_a_script_without_a_main_guard_runs_once_and_ends_by_itself(tmp_path):
    source = r"""
from pathlib import Path
with Path("starts.txt").open("a") as starts:
    starts.write("started ")
from prefix_rft_trl.rewards import math_accuracy_reward
print(math_accuracy_reward(completions=[r"\boxed{x + 1}", r"\boxed{x}"], solution=["1 + x", "y"]))
"""
    done = run(tmp_path / "train.py", source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1.0, 0.0]\n", "")
    assert (tmp_path / "starts.txt").read_text() == "started "


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are not forked here")
def test_a_multiprocessing_child_with_workers_of_its_own_ends(tmp_path):
    source = r"""
import multiprocessing
from prefix_rft_trl.rewards import math_accuracy_reward

def train(variable):
    print(math_accuracy_reward(completions=[rf"\boxed{{{variable} + 1}}"], solution=[f"1 + {variable}"]), flush=True)

if __name__ == "__main__":
    train("x")
    child = multiprocessing.get_context("fork").Process(target=train, args=("y",))
    child.start()
    child.join()
    print("ended", child.exitcode, flush=True)
    train("z")
"""
    done = run(tmp_path / "train.py", source)
    assert (done.returncode, done.stdout) == (0, "[1.0]\n[1.0]\nended 0\n[1.0]\n")


@pytest.fixture
def own_alarm():
    handler = signal.getsignal(signal.SIGALRM)
    judge_in_time("x", ("x + 1",), 60.0)  # an interrupted import would stay incomplete
    yield
    signal.signal(signal.SIGALRM, handler)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer here")
def test_a_slow_answer_is_interrupted_and_the_timer_is_cleared(own_alarm, hostile):
    start = time.perf_counter()
    assert judge_in_time(hostile.SLOW["triple integral"], (r"\sqrt{2}",), 0.5) == "timeout"
    assert 0.5 <= time.perf_counter() - start < 5.0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert judge_in_time("1 + x", ("x + 1",), 10.0) == "equal"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ZeroDivisionError, AssertionError])
def test_any_exception_in_the_algebra_is_a_refusal(own_alarm, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(equivalence, "judge", failing)
    assert judge_in_time("1 + x", ("x + 1",), 10.0) == "refused"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    "busy_with", ["while True: pass", "3 ** 10**9"], ids=["Python", "C, which nothing interrupts"]
)
def test_idle_and_busy_workers_end_with_a_killed_parent(tmp_path, still_running, busy_with):
    source = f"""
import os
from prefix_rft_trl.rewards import Verifier
workers = Verifier(num_workers=2).workers.running()
workers.schedule(exec, args=({busy_with!r},))
assert workers.schedule(eval, args=("1 + 1",)).result() == 2
print(*workers._pool_manager.worker_manager.workers, flush=True)
os.kill(os.getpid(), 9)
"""
    done = run(tmp_path / "killed.py", source)
    assert done.returncode == -signal.SIGKILL
    workers = [int(number) for number in done.stdout.split()]
    assert len(workers) == 2
    assert still_running(psutil.Process(number) for number in workers if psutil.pid_exists(number)) == []


def test_the_system_ends_a_worker_that_nothing_interrupts(tmp_path):
    source = """
from prefix_rft_trl.rewards.verification.confinement import apply_limited
import math
one, other = 3 ** 3000000 + 1, 2 ** 4753000 + 1
apply_limited(math.gcd, 0.1, one, other)
"""
    assert run(tmp_path / "endless.py", source).returncode == -signal.SIGXCPU
