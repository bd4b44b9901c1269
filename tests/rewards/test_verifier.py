import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pebble import ProcessPool

from prefix_rft_trl.rewards import Verdict, Verifier
from prefix_rft_trl.rewards.verification import verifier as module


RIGHT = [(f"x + {number}", (f"{number} + x",)) for number in range(1, 9)]


@pytest.fixture
def slow(hostile) -> str:
    """An answer that runs into the time limit."""
    return hostile.SLOW["triple integral"]


@pytest.fixture
def scheduled(monkeypatch) -> list[str]:
    """The answers that are sent to a worker."""
    answers: list[str] = []
    schedule = ProcessPool.schedule

    def record(pool, function, args, **options):
        answers.append(args[2])  # after the function and its time limit
        return schedule(pool, function, args=args, **options)

    monkeypatch.setattr(ProcessPool, "schedule", record)
    return answers


def test_verdicts_come_in_the_order_of_the_answers(verifier):
    pairs = [
        ("42", ("42",)),
        (r"\frac{2}{4}", (r"\frac{1}{2} + 0",)),
        ("y", ("x",)),
        (None, (r"\sqrt{2}",)),
        (None, ("42",)),
        ("", ("A",)),
        ("42", ()),
        ("42", ("???",)),
        ("9^{9^{9^{9}}}", ("42",)),
        ("42", ("???", "42")),
        ("43", ("42",)),
    ]
    expected = "equal equal different different different different unreadable_gold unreadable_gold refused equal"
    assert verifier.verify(pairs) == [*expected.split(), "different"]
    assert verifier.verify([*reversed(pairs)]) == ["different", *reversed(expected.split())]
    assert verifier.verify([]) == []


def test_unreadable_right_answers_are_reported(verifier):
    golds = [("42",), (), ("???",), ("???", r"\sqrt{2}"), (r"\frac{1}{",), ("east",)]
    assert verifier.unreadable(golds) == [False, True, True, False, True, False]


def test_right_answers_that_are_only_text_in_part_are_reported(verifier):
    whole = ["42", "x^2 + 1", "east", r"5 \text{ km } 200 \text{ m}", "9:15 a.m.", r"\{x \mid x > 2\}", "B) 7"]
    in_part = [r"1, 2, \ldots, 9", r"n \mapsto \frac{1}{2}", "f'(x) = 5 \\# 7", r"a \oplus b"]
    assert verifier.read_in_part([(gold,) for gold in whole]) == [False] * len(whole)
    assert verifier.read_in_part([(gold,) for gold in in_part]) == [True] * len(in_part)


def test_identical_pairs_are_verified_once_and_remembered(verifier, scheduled):
    pairs = [("a + 7", ("7 + a",)), ("a + 8", ("7 + a",)), ("a + 7", ("8 + a",))]
    expected = ["equal", "different", "different"]
    assert verifier.verify(pairs * 5) == expected * 5
    assert sorted(scheduled) == ["a + 7", "a + 7", "a + 8"]
    assert verifier.verify(pairs) == expected
    assert len(scheduled) == 3


def test_numbers_need_no_worker(verifier, scheduled):
    pairs = [("7", ("7.0",)), ("7", ("8",)), (None, ("8",)), ("7", ())]
    assert verifier.verify(pairs) == ["equal", "different", "different", "unreadable_gold"]
    assert scheduled == []


def test_a_timeout_is_not_remembered(verifier, scheduled, slow, monkeypatch):
    monkeypatch.setattr(verifier.workers, "time_limit", 0.5)
    pair = (slow, (r"\sqrt{2}",))
    for _ in range(2):
        assert verifier.verify([pair, pair]) == ["timeout", "timeout"]
    assert scheduled == [slow, slow]


def test_remembered_verdicts_are_bounded_and_the_oldest_are_forgotten(verifier, scheduled, monkeypatch):
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    monkeypatch.setattr(verifier, "_known", {})
    for pair in RIGHT[:5]:
        verifier.verify([pair])
    scheduled.clear()
    assert verifier.verify(RIGHT[2:5]) == ["equal"] * 3
    assert scheduled == []
    assert verifier.verify(RIGHT[:1]) == ["equal"]
    assert len(scheduled) == 1


def test_remembered_verdicts_take_no_more_memory_for_long_answers():
    verifier = module.Verifier(num_workers=1)
    for number in range(100):
        verifier._remember({(f"{number}" * 100_000, ("9" * 100_000,) * 3): "different"})
    assert len(verifier._known) == 100
    assert sum(map(sys.getsizeof, verifier._known)) < 100 * 100


@pytest.fixture
def hasty(verifier, monkeypatch):
    monkeypatch.setattr(verifier.workers, "time_limit", 2.0)
    return verifier


def test_an_interruptible_answer_keeps_its_worker(hasty, worker_ids, slow):
    hasty.verify(RIGHT)
    workers = worker_ids(hasty.workers)
    assert hasty.verify([(slow, (r"\sqrt{3}",))]) == ["timeout"]
    assert worker_ids(hasty.workers) == workers


def test_an_uninterruptible_answer_loses_its_worker_in_time(hasty, worker_ids, hostile):
    hasty.verify(RIGHT)
    workers = worker_ids(hasty.workers)
    start = time.perf_counter()
    assert hasty.verify([(hostile.SLOW["divisor of huge numbers"], ("42",))]) == ["timeout"]
    assert hasty.time_limit <= time.perf_counter() - start < hasty.time_limit + 3
    after = [(f"u + {number}", (f"{number} + u",)) for number in range(9)]
    assert hasty.verify(after) == ["equal"] * 9
    assert len(workers - worker_ids(hasty.workers)) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_that_dies_costs_one_answer(worker_ids, slow):
    with Verifier(num_workers=1) as mortal:
        mortal.verify(RIGHT[:1])
        (worker,) = worker_ids(mortal.workers)
        threading.Timer(0.5, os.kill, (worker, signal.SIGKILL)).start()
        verdicts = mortal.verify([(slow, (r"\sqrt{2}",)), *RIGHT, ("x", ("y",))])
    assert verdicts == ["crashed", *["equal"] * len(RIGHT), "different"]


def test_several_threads_verify_at_once(verifier):
    def verify(number: int) -> list[Verdict]:
        return verifier.verify([(f"e + {number + place}", (f"{number} + e",)) for place in range(10)])

    found = [*ThreadPoolExecutor(4).map(verify, range(4), timeout=60)]
    assert found == [["equal"] + ["different"] * 9] * 4


def test_leaving_its_context_ends_the_workers():
    with Verifier(num_workers=1) as verifier:
        assert verifier.verify(RIGHT[:1]) == ["equal"]
        assert verifier.workers.is_running
    assert not verifier.workers.is_running


@pytest.mark.parametrize(
    ("settings", "named"), [({"num_workers": 0}, "num_workers"), ({"time_limit": 0}, "time_limit")]
)
def test_invalid_settings_are_reported_by_name(settings, named):
    with pytest.raises(ValueError, match=named):
        Verifier(**settings)
