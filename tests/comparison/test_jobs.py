"""The runner, with a short program in place of training."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from prefix_rft_trl.comparison.jobs import HOW_TO_STOP, LOG, Job, RunProcess, job_names, jobs_for, run_jobs
from prefix_rft_trl.comparison.trials import Trial
from prefix_rft_trl.run.folder import STATE, is_finished
from prefix_rft_trl.utils.files import LOCK, exclusive_lock


FINISHED = json.dumps({"global_step": 2, "max_steps": 2})
# Notes when it starts and ends in the folder of the run; `settings["does"]` says how it ends
STAND_IN = f"""
import os, pathlib, signal, sys, time
from prefix_rft_trl.utils.processes import end_with_parent
end_with_parent()
folder, does, moment = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
starts = folder.parent.parent / "starts.txt"
with starts.open("a") as file:
    print(folder.parent.name, folder.name, *sys.argv[4:], file=file)
if does == "take long to stop":
    signal.signal(signal.SIGTERM, lambda *_: (folder / "asked").touch())
    os.spawnlp(os.P_NOWAIT, "sleep", "sleep", str(moment))
(folder / "started").write_text(repr(time.time()))
time.sleep(moment)
(folder / "stopped").write_text(repr(time.time()))
if does == "fail":
    sys.exit("it cannot be done")
if does == "be killed":
    os.kill(os.getpid(), 9)
if does == "run":
    (folder / "{STATE}").write_text('{FINISHED}')
"""


def command(job: Job) -> list[str]:
    resumed = ["resumed"] if job.has_progress else []
    settings = job.trial.settings
    return [sys.executable, "-c", STAND_IN, str(job.folder), settings["does"], str(settings["moment"]), *resumed]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(Job, "command", command)


def trial(name: str, seeds: int = 1, does: str = "run", moment: float = 0.05) -> Trial:
    return Trial(Path(f"{name}.yaml"), {}, {"does": does, "moment": moment, "name": name}, seeds)


def starts(folder: Path) -> list[str]:
    return (folder / "starts.txt").read_text().splitlines() if (folder / "starts.txt").is_file() else []


def finish(job: Job, text: str = FINISHED) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / STATE).write_text(text)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appears"
        time.sleep(0.02)


def test_only_unfinished_jobs_are_run(tmp_path):
    jobs = jobs_for([trial("a", seeds=2), trial("b")], tmp_path)
    finish(jobs[0])
    assert run_jobs(jobs, at_a_time=2) == []
    assert all(is_finished(job.folder) for job in jobs)
    assert sorted(starts(tmp_path)) == sorted(f"{job.trial.name} seed-{job.seed}" for job in jobs[1:])
    run_jobs(jobs, at_a_time=1)
    assert len(starts(tmp_path)) == 2


@pytest.mark.parametrize("text", [FINISHED[:-5], "", json.dumps({"global_step": 1, "max_steps": 2})])
def test_an_interrupted_run_without_a_checkpoint_starts_over(tmp_path, text):
    job = jobs_for([trial("a")], tmp_path)[0]
    finish(job, text)
    (job.folder / "curve.jsonl").write_text("left behind")
    (job.folder / "checkpoint-1").mkdir()  # incomplete
    run_jobs([job], at_a_time=1)
    assert is_finished(job.folder)
    assert not (job.folder / "curve.jsonl").exists()
    assert not (job.folder / "checkpoint-1").exists()
    assert starts(tmp_path) == [f"{job.trial.name} seed-0"]


@pytest.mark.parametrize("stage", ["", "sft"])
def test_a_run_with_a_checkpoint_resumes(tmp_path, stage):
    job = jobs_for([trial("a")], tmp_path)[0]
    checkpoint = job.folder / stage / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE).write_text(json.dumps({"global_step": 1, "max_steps": 2}))
    (job.folder / "curve.jsonl").write_text("earlier")
    run_jobs([job], at_a_time=1)
    assert (checkpoint / STATE).exists()
    assert (job.folder / "curve.jsonl").read_text() == "earlier"
    assert starts(tmp_path) == [f"{job.trial.name} seed-0 resumed"]


def test_a_run_whose_first_stage_is_finished_keeps_it(tmp_path):
    staged = replace(trial("a"), stages=("sft", "rft"))
    job = jobs_for([staged], tmp_path)[0]
    finish(replace(job, folder=job.folder / "sft"))
    run_jobs([job], at_a_time=1)
    assert is_finished(job.folder / "sft")
    assert starts(tmp_path) == [f"{job.trial.name} seed-0 resumed"]


@pytest.mark.parametrize("does", ["fail", "stop early", "be killed"])
def test_a_failing_run_is_reported_and_does_not_stop_the_others(tmp_path, capsys, does):
    failing, *others = jobs = jobs_for([trial("a", does=does), trial("b", seeds=2)], tmp_path)
    assert run_jobs(jobs, at_a_time=1) == [failing]
    assert all(is_finished(job.folder) for job in others)
    reason, last = {
        "fail": ("exit code 1", "it cannot be done"),
        "stop early": ("it ended before its last step", "(its log is empty)"),
        "be killed": ("ended by SIGKILL", "(its log is empty)"),
    }[does]
    end = f"a, seed 0 failed ({reason}). The end of its log:\n  | {last}\n  log: {failing.log}\n"
    assert end in capsys.readouterr().out


def test_a_failed_run_is_tried_again_the_next_time(tmp_path):
    job = jobs_for([trial("a", does="fail")], tmp_path)[0]
    assert run_jobs([job], at_a_time=1) == [job]
    job.trial.settings["does"] = "run"
    job = Job(job.trial, job.seed, job.folder)
    assert run_jobs([job], at_a_time=1) == []
    assert (job.folder / LOG).read_text() == ""  # of the second run alone


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_no_more_runs_than_allowed_at_a_time(tmp_path, at_a_time):
    jobs = jobs_for([trial("a", seeds=3, moment=0.3)], tmp_path)
    run_jobs(jobs, at_a_time)
    times = [[float((job.folder / name).read_text()) for name in ("started", "stopped")] for job in jobs]
    together = [sum(start <= moment < stop for start, stop in times) for moment, _ in times]
    assert max(together) == at_a_time


@pytest.mark.parametrize(("at_a_time", "threads"), [(1, "7"), (2, "1")])
def test_concurrent_runs_get_one_thread_each(tmp_path, monkeypatch, at_a_time, threads):
    program = f"import os; print(os.environ['OMP_NUM_THREADS']); open({str(tmp_path / 'x')!r}, 'w')"
    monkeypatch.setattr(Job, "command", lambda job: [sys.executable, "-c", program])
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (job,) = run_jobs(jobs_for([trial("a")], tmp_path), at_a_time)
    assert job.log_tail() == [threads]


@pytest.mark.parametrize(
    ("log", "tail"),
    [
        ("", ["(its log is empty)"]),
        ("\n \n\n", ["(its log is empty)"]),
        ("".join(f"{line}\n" for line in range(9)), ["4", "5", "6", "7", "8"]),
        ("read 0\rread 9\n\nit cannot be done\n", ["read 9", "it cannot be done"]),
        ("  f()\n  ^^^\nit cannot\n\r 50%|████▌    | 2/4 [00:01<00:01]\r100%|████| 4/4", ["  f()", "it cannot"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("é" * 20_001 + "\nend", None),
    ],
)
def test_the_end_of_a_log_is_as_a_terminal_shows_it(tmp_path, log, tail):
    job = Job(trial("a"), 0, tmp_path)
    job.log.write_text(log, newline="")
    assert job.log_tail() == tail or (tail is None and job.log_tail()[-1] == "end")


def test_jobs_are_called_by_what_distinguishes_them():
    shared = {"max_steps": 4}
    trials = [Trial(Path("a.yaml"), {**shared, **own}, {"x": str(own)}, 1) for own in ({}, {"sft.lr": 0.1})]
    jobs = jobs_for(trials, Path("runs"))
    assert list(job_names(jobs).values()) == ["a, seed 0", "a, sft.lr 0.1, seed 0"]


PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_jobs
from prefix_rft_trl.comparison.jobs import Job, jobs_for, run_jobs
from prefix_rft_trl.utils.processes import exit_on_signals
Job.command = test_jobs.command
folder = Path(sys.argv[1])
with exit_on_signals():
    trial = test_jobs.trial("a", seeds=2, moment=float(sys.argv[2]), does=sys.argv[3])
    run_jobs(jobs_for([trial], folder), at_a_time=2)
"""


@pytest.fixture
def comparison_in_a_process(tmp_path):
    """Starts two runs at a time in a process of its own; returns it and the jobs once both are running."""
    processes = []

    def start(moment: float, does: str = "run") -> tuple[subprocess.Popen, list[Job]]:
        jobs = jobs_for([trial("a", seeds=2, moment=moment, does=does)], tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(moment), does],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # What is started in the background of a shell ignores it, and so would its children
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        for job in jobs:
            wait_for(job.folder / "started")
        return process, jobs

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_runs_end_with_a_killed_comparison_and_the_next_one_starts_them_again(
    tmp_path, comparison_in_a_process, still_running
):
    killed, jobs = comparison_in_a_process(moment=2.0)
    runs = psutil.Process(killed.pid).children(recursive=True)
    assert len(runs) == len(jobs)
    killed.kill()
    assert still_running(runs) == []
    again = [Job(trial("a", seeds=2, moment=0.05), job.seed, job.folder) for job in jobs]
    assert run_jobs(again, at_a_time=1) == []
    assert len(starts(tmp_path)) == 4
    assert not list(tmp_path.rglob(LOCK))


def test_a_run_of_another_command_is_waited_for(tmp_path):
    job = jobs_for([trial("a")], tmp_path)[0]
    with exclusive_lock(job.folder):
        running = RunProcess(job, one_thread=False)
        assert not running.is_over()
        (job.folder / STATE).write_text(FINISHED)
        assert not running.is_over()
    assert running.is_over()
    assert starts(tmp_path) == []


def test_a_run_that_finished_before_its_turn_is_over_at_once(tmp_path):
    job = jobs_for([trial("a")], tmp_path)[0]
    finish(job)
    running = RunProcess(job, one_thread=False)
    assert running.is_over()
    assert running.is_over()
    assert starts(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
    ],
)
def test_a_signal_ends_the_runs(tmp_path, comparison_in_a_process, number, code):
    process, jobs = comparison_in_a_process(moment=60.0)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    again = [RunProcess(Job(trial("a", moment=0.0), job.seed, job.folder), one_thread=False) for job in jobs]
    assert all(running.process is not None for running in again)  # their locks are free
    for running in again:
        running.process.wait()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_lets_the_runs_finish_their_steps_and_a_second_one_ends_them(
    comparison_in_a_process, still_running, second
):
    process, jobs = comparison_in_a_process(moment=60.0, does="take long to stop")
    runs = psutil.Process(process.pid).children(recursive=True)
    assert len(runs) == 2 * len(jobs)
    process.send_signal(signal.SIGINT)
    assert HOW_TO_STOP in iter(lambda: process.stdout.readline().decode().strip(), "")
    for job in jobs:
        wait_for(job.folder / "asked")
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(second)
    assert process.wait(timeout=10) == (-second if second == signal.SIGINT else 128 + second)
    assert still_running(runs) == []


def test_files_of_the_user_stay_where_a_run_starts_over(tmp_path):
    job = jobs_for([trial("a")], tmp_path)[0]
    finish(job, "")
    (job.folder / "notes.md").write_text("mine")
    run_jobs([job], at_a_time=1)
    assert is_finished(job.folder)
    assert (job.folder / "notes.md").read_text() == "mine"
