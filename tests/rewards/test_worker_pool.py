"""The workers here apply `eval`: an item says what happens to its worker."""

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import MagicMock

import psutil
import pytest

from prefix_rft_trl.rewards.verification import worker_pool
from prefix_rft_trl.rewards.verification.worker_pool import Failure, WorkerPool, default_num_workers


DYING = ("__import__('os').abort()",)
ENDLESS = ("__import__('time').sleep(60)",)
SUMS = [(f"{number} + 1",) for number in range(20)]
SUMMED = {(f"{number} + 1",): number + 1 for number in range(20)}
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


def eval_pool(num_workers: int | None = 1, time_limit: float = 1.0) -> WorkerPool:
    return WorkerPool(eval, int, num_workers, time_limit)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module", params=[1, 2])
def workers(request) -> Iterator[WorkerPool]:
    pool = eval_pool(request.param)
    pool.results([("1",)])
    yield pool
    pool.close()


def test_each_item_has_its_own_result_or_failure(workers):
    expected = {
        ("1 + 1",): 2,
        ("1 / 0",): Failure.RAISED,
        ("'a' * 3",): "aaa",
        ("None",): None,
        ("a syntax error",): Failure.RAISED,
        ("lambda: 1",): Failure.RAISED,  # is no JSON
        ("2",): 2,
    }
    assert [*workers.results([*expected]).items()] == [*expected.items()]


def test_an_item_that_takes_too_long_loses_its_worker_in_time(workers, worker_ids):
    before = worker_ids(workers)
    start = time.perf_counter()
    assert workers.results([ENDLESS, *SUMS]) == {ENDLESS: Failure.TIMEOUT, **SUMMED}
    assert 1.0 <= time.perf_counter() - start < 4.0
    assert len(before - worker_ids(workers)) == 1


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_clock_that_is_set_changes_no_time_limit(workers, monkeypatch, seconds):
    clock = itertools.count(time.time(), seconds)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    item = ("__import__('time').sleep(0.2)",)
    assert workers.results([item, *SUMS, ENDLESS]) == {item: None, **SUMMED, ENDLESS: Failure.TIMEOUT}


@needs_kill
def test_a_worker_that_dies_costs_its_item_alone(workers):
    assert workers.results([("7",), DYING, *SUMS]) == {("7",): 7, DYING: Failure.CRASHED, **SUMMED}


@needs_kill
@pytest.mark.parametrize(("number", "seconds"), [(1, 0.0), (2, 0.0), (2, 0.09), (2, 0.5)])
def test_workers_that_die_between_two_calls_are_replaced_at_no_cost(workers, worker_ids, number, seconds):
    def are_all_alive() -> bool:
        alive = {child.pid for child in multiprocessing.active_children()}
        return len(worker_ids(workers)) == workers.num_workers and worker_ids(workers) <= alive

    wait_until(are_all_alive)  # one that another test has ended may still be on its way
    processes = len(multiprocessing.active_children())
    dead = sorted(worker_ids(workers))[:number]
    for process in dead:
        os.kill(process, signal.SIGKILL)
    time.sleep(seconds)
    assert workers.results(SUMS) == SUMMED
    wait_until(lambda: worker_ids(workers).isdisjoint(dead) and are_all_alive())
    assert workers.results(SUMS) == SUMMED
    assert len(multiprocessing.active_children()) == processes


def test_several_threads_may_call_at_once(workers):
    products = [{(f"{thread} * {number}",): thread * number for number in range(10)} for thread in range(4)]
    assert [*ThreadPoolExecutor(4).map(workers.results, map(list, products), timeout=60)] == products


def test_closing_does_not_hang_a_thread_that_waits(workers):
    found = {}
    wait = ("__import__('time').sleep(0.6)",)
    thread = threading.Thread(target=lambda: found.update(workers.results([wait, *SUMS])), daemon=True)
    thread.start()
    time.sleep(0.3)
    workers.close()
    thread.join(timeout=30)
    assert found == {wait: None, **SUMMED}


def test_closing_ends_the_workers_and_the_next_call_starts_new_ones(worker_ids):
    pool = eval_pool()
    pool.close()
    assert not pool.is_running
    assert pool.results([("1",)]) == {("1",): 1}
    assert pool.is_running
    (first,) = worker_ids(pool)
    pool.close()
    assert not pool.is_running
    assert not psutil.pid_exists(first)
    assert pool.results([("2",)]) == {("2",): 2}
    (second,) = worker_ids(pool)
    pool.close()
    pool.close()
    assert not psutil.pid_exists(second)


@pytest.mark.parametrize("seconds", ["5", None, True, 0, -1.0, float("nan"), float("inf"), 1e18, [5]])
def test_a_time_limit_that_is_none_is_refused_by_name(seconds):
    with pytest.raises(ValueError, match=r"`time_limit` (takes a number|must be a positive number)"):
        eval_pool(time_limit=seconds)


@pytest.mark.parametrize("number", ["2", 0, -1, 2.5, True])
def test_a_number_of_workers_that_is_none_is_refused_by_name(number):
    with pytest.raises(ValueError, match=r"`num_workers` (takes an integer|must be at least 1)"):
        eval_pool(number)


def test_an_empty_call_starts_no_worker():
    pool = eval_pool()
    assert pool.results([]) == {}
    assert not pool.is_running


def test_workers_that_cannot_start_raise_instead_of_hanging():
    pool = WorkerPool(eval, max, 1, 1.0)  # `max()` raises
    with pytest.raises(RuntimeError, match="expired"):
        pool.results([("1",)])
    pool.close()


def test_workers_are_prepared_with_the_given_arguments():
    pool = WorkerPool(eval, exec, 1, 1.0)
    pool.results([("1",)], prepare_with=("import sys; sys.prepared = 7",))
    assert pool.results([("__import__('sys').prepared",)]) == {("__import__('sys').prepared",): 7}
    pool.close()


def test_progress_is_shown_on_request(workers, monkeypatch):
    bar = MagicMock()
    monkeypatch.setattr("tqdm.auto.tqdm", bar)
    workers.results([("1",), ("2",)], progress="Reading")
    bar.assert_called_once_with(total=2, desc="Reading", disable=False)
    assert bar().__enter__().update.call_count == 2
    workers.results([("1",)])
    assert bar.call_args.kwargs["disable"] is True


def test_a_copy_keeps_the_settings_and_no_workers(workers):
    copy = pickle.loads(pickle.dumps(workers))
    assert (copy.function, copy.prepare) == (eval, int)
    assert (copy.num_workers, copy.time_limit) == (workers.num_workers, 1.0)
    assert not copy.is_running


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_workers": 0}, "num_workers"),
        ({"num_workers": -2}, "-2"),
        ({"time_limit": 0}, "time_limit"),
        ({"time_limit": -1.0}, "-1.0"),
        ({"time_limit": float("nan")}, "nan"),
    ],
)
def test_invalid_settings_are_reported_by_name(settings, named):
    with pytest.raises(ValueError, match=named):
        eval_pool(**settings)


@pytest.mark.parametrize(("cores", "processes", "expected"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 8, 1), (96, 1, 16)])
def test_processes_of_a_launch_share_the_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert default_num_workers() == eval_pool(None).num_workers == expected
    assert eval_pool(5).num_workers == 5


def test_one_process_has_a_worker_for_each_core(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert default_num_workers() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_num_workers() == 1


def test_a_pool_without_any_result_gives_up_after_a_few_attempts(monkeypatch):
    pool, attempts = eval_pool(), []

    def broken(*_):
        attempts.append(1)
        raise RuntimeError("The Pool is not active")
        yield

    monkeypatch.setattr(pool, "_iterate", broken)
    with pytest.raises(RuntimeError, match="not active"):
        pool.results([("1",)])
    assert len(attempts) == worker_pool.MOST_ATTEMPTS
