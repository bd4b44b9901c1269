"""The workers here apply `eval`, as if an answer had got past all checks."""

import os
import runpy
import threading
import time
from pathlib import Path

import psutil
import pytest

from prefix_rft_trl.rewards import Verifier, load_reward
from prefix_rft_trl.rewards.verification.worker_pool import Failure, WorkerPool
from prefix_rft_trl.rewards.verification.workers import judge_in_time


PAYLOADS = runpy.run_path(str(Path(__file__).with_name("code_payloads.py")))["PAYLOADS"]
SECRET = "sk-of-nobody-0123456789"
GIBIBYTE = 2**30


@pytest.fixture(scope="module")
def workers():
    os.environ["SERVICE_API_KEY"] = SECRET
    pool = WorkerPool(eval, int, 1, 5.0)
    pool.results([("1",)])
    del os.environ["SERVICE_API_KEY"]
    yield pool
    pool.close()


REFUSED = {
    "a file": "open('{canary}', 'w')",
    "a file, by its descriptor": "__import__('os').open('{canary}', 65)",
    "a file that is added to": "open('{canary}', 'a')",
    "a folder": "__import__('os').mkdir('{canary}')",
    "a link": "__import__('os').symlink('/', '{canary}')",
    "a file removed": "__import__('os').remove('{kept}')",
    "a file renamed": "__import__('os').rename('{kept}', '{canary}')",
    "a process": "__import__('subprocess').run(['touch', '{canary}'])",
    "a shell": "__import__('os').system('touch {canary}')",
    "a fork": "__import__('os').fork()",
    "another program": "__import__('os').execv('/bin/sh', ['sh'])",
    "the parent": "__import__('os').kill(__import__('os').getppid(), 9)",
    "the network": "__import__('socket').create_connection(('127.0.0.1', 9))",
    "a name on the network": "__import__('socket').getaddrinfo('localhost', 9)",
    "a library of C": "__import__('ctypes').CDLL('libc.so.6')",
    "memory, by address": "__import__('ctypes').memset(id(1), 0, 0)",
    "a process that raises no event": "__import__('_posixsubprocess').fork_exec and 1",
    "a process, by a name of its own": "__import__('subprocess')._fork_exec and 1",
    "a process, by a new module": "[__import__('sys').modules.pop('_signal'), __import__('_signal'), 1][2]",
    "a new module by hand": "__import__('_imp').create_builtin(__import__('posix').__spec__) and 1",
    "another interpreter": "__import__('_xxsubinterpreters').create() and 1",
    "a signal by descriptor": "__import__('signal').pidfd_send_signal and 1",
    "a named pipe": "__import__('os').mkfifo('{canary}')",
    "a database": "__import__('sqlite3').connect('{canary}')",
    "a terminal": "__import__('fcntl').fcntl(0, 1)",
    "the parent's environment": "open(f'/proc/{__import__(\"os\").getppid()}/environ', 'rb').read().decode()",
    "the parent's environment, in bytes": "open(f'/proc/{__import__(\"os\").getppid()}/environ'.encode()).read()",
    "the parent's environment, another way": "open(f'/usr/.././/proc/{__import__(\"os\").getppid()}/environ').read()",
    "the parent's environment, from a folder": "(os := __import__('os')).open('proc', 0, dir_fd=os.open('/', 0))",
    "the hook's rules": (
        "[vars(__import__('sys').modules['prefix_rft_trl.rewards.verification.confinement']).update("
        "FORBIDDEN_EVENTS=(), WRITING_FLAGS=0), __import__('os').mkdir('{canary}')]"
    ),
    "an exit": "exit()",
    "an object": "type('Loud', (), {'__reduce__': lambda self: (print, ('ran',))})()",
    "30 GB": f"len(bytes({30 * GIBIBYTE}))",
    "30 GB of numbers": f"[0] * {30 * GIBIBYTE // 8}",
    "depth": "eval('(' * 3000 + ')' * 3000)",
}


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED)
def test_a_worker_refuses_and_works_on(code, workers, tmp_path):
    kept, canary = tmp_path / "kept", tmp_path / "canary"
    kept.touch()
    item = (code.replace("{canary}", str(canary)).replace("{kept}", str(kept)),)
    assert workers.results([item, ("1 + 1",)]) == {item: Failure.RAISED, ("1 + 1",): 2}
    assert kept.exists()
    assert not canary.exists()


class Loud(str):
    def __reduce__(self):
        return print, ("an object ran",)


class LoudError(Exception):
    __reduce__ = Loud.__reduce__


def test_a_result_is_plain_data_and_no_object_reaches_this_process(workers, capfd):
    module = f"__import__('runpy').run_path({str(Path(__file__))!r})"
    items = [(f"{module}['Loud']('text')",), (f"{{'a': ({module}['Loud']('text'), 1.5, None)}}",)]
    assert [*workers.results(items).values()] == ["text", {"a": ["text", 1.5, None]}]
    assert {type(result) for result in workers.results(items[:1]).values()} == {str}
    error = (f"(_ for _ in ()).throw({module}['LoudError']())",)
    assert workers.results([error]) == {error: Failure.RAISED}
    assert capfd.readouterr().out == ""


def test_a_worker_that_takes_memory_in_c_costs_its_answer_alone(workers):
    greedy = ("9 ** 9 ** 9 ** 9",)
    found = workers.results([greedy, ("3",)])
    assert found[greedy] in (*Failure,)
    assert found[("3",)] == 3


def test_a_worker_has_no_secret_and_an_empty_folder(workers, worker_ids):
    variables = "dict(__import__('os').environ)"
    folder = "__import__('os').listdir('.')"
    found = workers.results([(variables,), (folder,)])
    assert "PATH" in found[(variables,)]
    assert SECRET not in str(found)
    assert found[(folder,)] == []
    for process in worker_ids(workers):
        assert SECRET not in str(psutil.Process(process).environ())


def test_what_a_scorer_prints_is_not_shown(capfd):
    item = (r"print('\x1b[2J' * 9, flush=True)",)
    pool = WorkerPool(eval, print, 1, 5.0)
    assert pool.results([item], prepare_with=("prepared",)) == {item: None}
    pool.close()
    assert capfd.readouterr().out == "prepared\n"


def test_no_payload_runs_or_passes_in_the_maths_reward(tmp_path):
    canary = tmp_path / "canary"
    for payload in PAYLOADS:
        code = payload.replace("{canary}", str(canary)).replace("{{", "{").replace("}}", "}")
        pairs = [(code, ("x + 1", r"\frac{7}{3}")), (rf"\text{{{code}}}", ("24",)), ("24", (code,))]
        assert not [pair for pair in pairs if judge_in_time(*pair, 5.0) == "equal"]
        assert not canary.exists(), code


HOSTILE_KINDS = [
    lambda number: rf"\int_0^1\int_0^1\int_0^1 \frac{{\sin(xyz)^{{{17 + number % 5}}}}}{{1+x^{{99}}}} dx dy dz",
    lambda number: r"\frac{3^{\frac{n}{n} \cdot 3000000}+1}{2^{\frac{n}{n}\cdot 4753000}+1}",
    lambda number: f"9^{{9^{{9^{{{number}}}}}}}",
    lambda number: "(" * 3000 + str(number),
    lambda number: f"{number}" * 20_000,
    lambda number: f"__import__('os').system('sleep {number}')",
    lambda number: f"(a+b+c+d+e)^{{{1000 + number}}}",
    lambda number: "\x00" * 1000 + str(number),
    lambda number: rf"\sum_{{k=1}}^{{10^{{12}}}} \frac{{1}}{{k^2+{number}}}",
    lambda number: rf"\text{{{'a' * 50_000}{number}}}",
]


def test_hostile_answers_from_four_threads_end_in_time_and_the_workers_answer_after_them():
    answers = [kind(number) for number in range(200) for kind in HOSTILE_KINDS]
    found = {}
    with Verifier(num_workers=2, time_limit=1.0) as verifier:
        verifier.verify([(f"x + {number}", (f"{number} + x",)) for number in range(4)])

        def verify(thread):
            found[thread] = verifier.verify([(answer, (r"\frac{\sqrt{43}}{2}",)) for answer in answers[thread::4]])

        threads = [threading.Thread(target=verify, args=[number]) for number in range(4)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=200)
        seconds = time.monotonic() - start
        after = verifier.verify([("y + 1", ("1 + y",)), ("y", ("z",))])
    verdicts = [verdict for one in found.values() for verdict in one]
    assert len(verdicts) == 2000
    assert set(verdicts) <= {"different", "refused", "timeout"}
    batches = len(set(answers)) / 2
    assert seconds < batches * (1.0 + 2.0)
    assert after == ["equal", "different"]


OTHER_REWARDS = ["gsm8k_final_number", "lab_exact_answer", "lab_worked_answer", "accuracy_reward"]


@pytest.mark.parametrize("name", OTHER_REWARDS)
def test_no_payload_runs_or_passes_in_another_reward(name, tmp_path):
    reward, canary = load_reward(name), tmp_path / "canary"
    short = [payload for payload in PAYLOADS if len(payload) < 500]  # TRL's parse in this process, slowly
    texts = [payload.replace("{canary}", str(canary)).replace("{{", "{").replace("}}", "}") for payload in short]
    boxed = [rf"</think> \boxed{{{text}}}" for text in texts]
    columns = {"prompts": ["1+1="] * len(texts), "prompt": ["1+1="] * len(texts)}
    golds = ["#### $777$"] * len(texts)
    for answers, right in ((texts, golds), (boxed, golds), (golds, texts)):
        scores = reward(completions=answers, solution=right, answer=right, **columns)
        assert not {score for score in scores if score}, name
    assert not canary.exists()
