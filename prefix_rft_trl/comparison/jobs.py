"""Runs what a comparison lacks, several runs at a time, and never the same one twice.

A run lives in a folder named for its settings and its seed. It has ended when `trainer_state.json` is there, which
training writes last. While it goes on it holds a lock that its process inherits, so that a comparison which was killed
and started again waits for a run that is still going on and does not start it a second time.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prefix_rft_trl.run.folder import is_finished, last_checkpoint
from prefix_rft_trl.utils.files import LOCK

from .spec import Trial


LOG = "log.txt"


@dataclass(frozen=True, eq=False)
class Job:
    """One run: a trial with a seed, in its folder."""

    trial: Trial
    seed: int
    folder: Path

    def command(self) -> list[str]:
        train = [sys.executable, "-m", "prefix_rft_trl.cli.main", "train", "--config", str(self.trial.path)]
        of_run = ["--seed", str(self.seed), "--output_dir", str(self.folder)]
        resume = ["--resume_from_checkpoint", "last"] if self.has_checkpoint else []
        return [*train, *self.trial.flags(), *of_run, *resume]

    @property
    def has_checkpoint(self) -> bool:
        return any(last_checkpoint(checkpoint.parent) for checkpoint in self.folder.glob("**/checkpoint-*"))

    def last_words(self) -> str:
        """The last line of its log, which mostly says what went wrong."""
        lines = (self.folder / LOG).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def jobs_of(trials: list[Trial], folder: Path) -> list[Job]:
    """A job for each trial and seed, once each; the first seeds of all trials before the second ones."""
    seeds: dict[str, int] = {}
    for trial in trials:
        seeds[trial.name] = max(trial.seeds, seeds.get(trial.name, 0))
    by_name = {trial.name: trial for trial in trials}
    return [
        Job(trial, seed, folder / name / f"seed-{seed}")
        for seed in range(max(seeds.values(), default=0))
        for name, trial in by_name.items()
        if seed < seeds[name]
    ]


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Lets SIGTERM, which schedulers send, end the runs that go on, as an interrupt from the keyboard does."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_jobs(jobs: list[Job], at_a_time: int) -> list[Job]:
    """Runs the jobs that have not ended.

    Args:
        jobs (`list[Job]`): all of a comparison.
        at_a_time (`int`): how many run side by side. More than one get one thread each.

    Returns:
        `list[Job]`: those that failed.
    """
    from tqdm import tqdm

    waiting = [job for job in jobs if not is_finished(job.folder)]
    failed: list[Job] = []
    running: dict[Job, Running] = {}
    with tqdm(total=len(jobs), initial=len(jobs) - len(waiting), desc="runs", unit="run") as bar:
        try:
            while waiting or running:
                for job in [job for job, process in running.items() if process.poll()]:
                    del running[job]
                    bar.update()
                    if not is_finished(job.folder):
                        failed.append(job)
                        bar.write(f"{job.folder} failed: {job.last_words()}")
                while waiting and len(running) < at_a_time:
                    job = waiting.pop(0)
                    running[job] = Running(job, one_thread=at_a_time > 1)
                now = ", ".join(f"{job.trial.path.stem} {job.seed}" for job in running)
                if now != (bar.postfix or ""):
                    bar.set_postfix_str(now)
                time.sleep(0.2)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()
    return failed


class Running:
    """A job that goes on: in a process of our own, or in one that a comparison before us has left."""

    def __init__(self, job: Job, one_thread: bool):
        self.job, self.one_thread = job, one_thread
        self.process: subprocess.Popen[bytes] | None = None
        job.folder.mkdir(parents=True, exist_ok=True)
        self.lock: IO[str] = (job.folder / LOCK).open("w")
        self._start_if_free()

    def poll(self) -> bool:
        """Whether it is over."""
        if self.process is None and not self.lock.closed:
            self._start_if_free()
        if self.process is not None and self.process.poll() is not None:
            self.lock.close()
        return self.lock.closed

    def terminate(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def wait(self) -> None:
        if self.process is not None:
            self.process.wait()

    def _start_if_free(self) -> None:
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if is_finished(self.job.folder):
            self.lock.close()
            return
        if not self.job.has_checkpoint:
            _clear(self.job.folder)
        threads = {"OMP_NUM_THREADS": "1"} if self.one_thread else {}
        with (self.job.folder / LOG).open("a") as log:
            self.process = subprocess.Popen(
                self.job.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **threads},
                pass_fds=[self.lock.fileno()],  # the lock goes on as long as the run does, whatever becomes of us
                start_new_session=True,
            )


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
