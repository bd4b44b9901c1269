"""A program that takes a moment stands in for training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefix_rft_trl.comparison.jobs import LOG, Job, Running, jobs_of, run_jobs
from prefix_rft_trl.comparison.spec import Trial
from prefix_rft_trl.run.folder import STATE, is_finished
from prefix_rft_trl.utils.files import exclusive_lock


ENDED = json.dumps({"global_step": 2, "max_steps": 2})
# In the folder of a run: notes when it starts and ends, and does what `settings["does"]` says in between
STAND_IN = f"""
import pathlib, sys, time
folder, does, moment = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
starts = folder.parent.parent / "starts.txt"
with starts.open("a") as file:
    print(folder.parent.name, folder.name, *sys.argv[4:], file=file)
(folder / "started").write_text(repr(time.time()))
time.sleep(moment)
(folder / "stopped").write_text(repr(time.time()))
if does == "fail":
    sys.exit("it cannot be done")
if does == "run":
    (folder / "{STATE}").write_text('{ENDED}')
"""


def command(job: Job) -> list[str]:
    resumed = ["resumed"] if job.has_checkpoint else []
    settings = job.trial.settings
    return [sys.executable, "-c", STAND_IN, str(job.folder), settings["does"], str(settings["moment"]), *resumed]


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(Job, "command", command)


def trial(name: str, seeds: int = 1, does: str = "run", moment: float = 0.05) -> Trial:
    return Trial(Path(f"{name}.yaml"), {}, {"does": does, "moment": moment, "name": name}, seeds)


def starts(folder: Path) -> list[str]:
    return (folder / "starts.txt").read_text().splitlines() if (folder / "starts.txt").is_file() else []


def end(job: Job, text: str = ENDED) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / STATE).write_text(text)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.02)


def test_all_runs_of_a_comparison_end(tmp_path):
    jobs = jobs_of([trial("a", seeds=2), trial("b")], tmp_path)
    assert run_jobs(jobs, at_a_time=2) == []
    assert all(is_finished(job.folder) for job in jobs)
    assert len(starts(tmp_path)) == 3


def test_what_has_ended_is_not_run_again(tmp_path):
    jobs = jobs_of([trial("a", seeds=2), trial("b")], tmp_path)
    end(jobs[0])
    run_jobs(jobs, at_a_time=1)
    assert starts(tmp_path) == [f"{jobs[1].trial.name} seed-0", f"{jobs[2].trial.name} seed-1"]
    run_jobs(jobs, at_a_time=1)
    assert len(starts(tmp_path)) == 2


@pytest.mark.parametrize("text", [ENDED[:-5], "", json.dumps({"global_step": 1, "max_steps": 2})])
def test_a_run_that_was_cut_off_is_run_from_its_start(tmp_path, text):
    job = jobs_of([trial("a")], tmp_path)[0]
    end(job, text)
    (job.folder / "curve.jsonl").write_text("left behind")
    (job.folder / "sft").mkdir()
    run_jobs([job], at_a_time=1)
    assert is_finished(job.folder)
    assert not (job.folder / "curve.jsonl").exists()
    assert not (job.folder / "sft").exists()
    assert starts(tmp_path) == [f"{job.trial.name} seed-0"]


@pytest.mark.parametrize("stage", ["", "sft"])
def test_a_run_with_a_checkpoint_goes_on_from_it(tmp_path, stage):
    job = jobs_of([trial("a")], tmp_path)[0]
    checkpoint = job.folder / stage / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE).write_text(json.dumps({"global_step": 1, "max_steps": 2}))
    (job.folder / "curve.jsonl").write_text("kept")
    run_jobs([job], at_a_time=1)
    assert (checkpoint / STATE).exists()
    assert (job.folder / "curve.jsonl").read_text() == "kept"
    assert starts(tmp_path) == [f"{job.trial.name} seed-0 resumed"]


def test_a_checkpoint_that_was_not_written_whole_is_none(tmp_path):
    job = jobs_of([trial("a")], tmp_path)[0]
    (job.folder / "checkpoint-1").mkdir(parents=True)
    run_jobs([job], at_a_time=1)
    assert starts(tmp_path) == [f"{job.trial.name} seed-0"]


@pytest.mark.parametrize("does", ["fail", "stop early"])
def test_a_run_that_fails_is_told_and_does_not_stop_the_others(tmp_path, capsys, does):
    failing, *others = jobs = jobs_of([trial("a", does=does), trial("b", seeds=2)], tmp_path)
    assert run_jobs(jobs, at_a_time=1) == [failing]
    assert all(is_finished(job.folder) for job in others)
    said = "it cannot be done" if does == "fail" else "it said nothing"
    assert f"{failing.folder} failed: {said}" in "".join(capsys.readouterr())


def test_a_run_that_failed_is_tried_again_the_next_time(tmp_path):
    job = jobs_of([trial("a", does="fail")], tmp_path)[0]
    assert run_jobs([job], at_a_time=1) == [job]
    job.trial.settings["does"] = "run"
    job = Job(job.trial, job.seed, job.folder)
    assert run_jobs([job], at_a_time=1) == []
    assert (job.folder / LOG).read_text() == ""  # nothing is left of what the first one said


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_no_more_runs_go_on_at_a_time_than_asked_for(tmp_path, at_a_time):
    jobs = jobs_of([trial("a", seeds=3, moment=0.3)], tmp_path)
    run_jobs(jobs, at_a_time)
    times = [[float((job.folder / name).read_text()) for name in ("started", "stopped")] for job in jobs]
    together = [sum(start <= moment < stop for start, stop in times) for moment, _ in times]
    assert max(together) == at_a_time


@pytest.mark.parametrize(("at_a_time", "threads"), [(1, "7"), (2, "1")])
def test_runs_side_by_side_get_a_thread_each(tmp_path, monkeypatch, at_a_time, threads):
    program = f"import os; print(os.environ['OMP_NUM_THREADS']); open({str(tmp_path / 'x')!r}, 'w')"
    monkeypatch.setattr(Job, "command", lambda job: [sys.executable, "-c", program])
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (job,) = run_jobs(jobs_of([trial("a")], tmp_path), at_a_time)
    assert job.last_words() == threads


PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_running
from prefix_rft_trl.comparison.jobs import Job, ending_on_sigterm, jobs_of, run_jobs
Job.command = test_running.command
folder = Path(sys.argv[1])
with ending_on_sigterm():
    run_jobs(jobs_of([test_running.trial("a", seeds=2, moment=float(sys.argv[2]))], folder), at_a_time=2)
"""


@pytest.fixture
def comparison_in_a_process(tmp_path):
    """Starts two runs at a time in a process of its own; returns it and the folders of the runs when both go on."""
    processes, folders = [], []

    def start(moment: float) -> tuple[subprocess.Popen, list[Job]]:
        jobs = jobs_of([trial("a", seeds=2, moment=moment)], tmp_path)
        folders.extend(job.folder for job in jobs)
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(moment)],
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


def test_a_run_that_a_killed_comparison_has_left_is_waited_for_and_not_started_twice(
    tmp_path, comparison_in_a_process
):
    killed, jobs = comparison_in_a_process(moment=2.0)
    killed.kill()
    killed.wait()
    assert not any(is_finished(job.folder) for job in jobs)  # they go on
    # The second one ends while the first is waited for: it is found ended when its turn comes
    assert run_jobs(jobs, at_a_time=1) == []
    assert all(is_finished(job.folder) for job in jobs)
    assert len(starts(tmp_path)) == 2


def test_a_run_that_has_ended_before_its_turn_is_over_at_once(tmp_path):
    job = jobs_of([trial("a")], tmp_path)[0]
    end(job)
    running = Running(job, one_thread=False)
    assert running.poll()
    assert running.poll()
    assert starts(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_an_interrupt_or_the_end_that_a_scheduler_sends_ends_the_runs(tmp_path, comparison_in_a_process, number, code):
    process, jobs = comparison_in_a_process(moment=60.0)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    again = [Running(Job(trial("a", moment=0.0), job.seed, job.folder), one_thread=False) for job in jobs]
    assert all(running.process is not None for running in again)  # their locks are free: nothing of them goes on
    for running in again:
        running.process.wait()


def test_two_comparisons_in_one_folder_are_refused(tmp_path):
    with exclusive_lock(tmp_path / "runs"):  # noqa: SIM117
        with pytest.raises(ValueError, match=r"Another command.*runs"), exclusive_lock(tmp_path / "runs"):
            pass
    with exclusive_lock(tmp_path / "runs"):
        pass


def test_a_comparison_that_was_killed_does_not_hold_its_folder(tmp_path):
    program = (
        "import sys, time, pathlib\nfrom prefix_rft_trl.comparison.jobs import exclusive_lock\n"
        "with exclusive_lock(pathlib.Path(sys.argv[1])):\n    print('holds', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "holds\n"
    with pytest.raises(ValueError, match="Another command"), exclusive_lock(tmp_path):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with exclusive_lock(tmp_path):
        pass
