"""Run the trainings of a comparison, several at a time and none of them twice.

A run lives in a folder named for its settings and its seed. It is finished once `trainer_state.json`, which training
writes last, is there. While it runs, its process holds a lock that it inherited, so that a comparison which was killed
and started again waits for a run that is still going and does not start it a second time.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from prefix_rft_trl.run.folder import is_finished, last_checkpoint
from prefix_rft_trl.utils.files import LOCK
from prefix_rft_trl.utils.processes import handled_signals

from .spec import Trial


LOG = "log.txt"


@dataclass(frozen=True, eq=False)
class Job:
    """A trial to run with one seed.

    Attributes:
        trial (`Trial`): recipe and overrides.
        seed (`int`): of the run.
        folder (`Path`): where it writes.
        environment (`dict`): variables that its process gets besides ours.
    """

    trial: Trial
    seed: int
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        train = [sys.executable, "-m", "prefix_rft_trl.cli.main", "train", "--config", str(self.trial.path)]
        where = ["--seed", str(self.seed), "--output_dir", str(self.folder)]
        resume = ["--resume_from_checkpoint", "last", "--overwrite", "false"] if self.has_checkpoint else []
        return [*train, *self.trial.flags(), *where, *resume]

    @property
    def has_checkpoint(self) -> bool:
        return any(last_checkpoint(checkpoint.parent) for checkpoint in self.folder.glob("**/checkpoint-*"))

    def last_log_line(self) -> str:
        """The last line of the log, where most failures say what went wrong."""
        lines = (self.folder / LOG).read_text(errors="replace", encoding="utf-8").strip().splitlines()
        return lines[-1] if lines else "(its log is empty)"


def jobs_for(trials: list[Trial], folder: Path) -> list[Job]:
    """A job for each distinct trial and seed, seed 0 of all trials before seed 1 of any."""
    distinct: dict[str, Trial] = {}
    for trial in trials:
        distinct[trial.name] = max(trial, distinct.get(trial.name, trial), key=lambda one: one.seeds)
    return [
        Job(trial, seed, folder / name / f"seed-{seed}")
        for seed in range(max((trial.seeds for trial in distinct.values()), default=0))
        for name, trial in distinct.items()
        if seed < trial.seeds
    ]


def end_runs_on_sigterm() -> AbstractContextManager[None]:
    """Turn SIGTERM, which schedulers send, into an exit that ends the runs, as an interrupt from the keyboard does."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    return handled_signals(end, signal.SIGTERM)


def run_jobs(jobs: list[Job], at_a_time: int, on_poll: Callable[[], None] | None = None) -> list[Job]:
    """Run the jobs that are not finished.

    Args:
        jobs (`list[Job]`): all of a comparison.
        at_a_time (`int`): number of concurrent runs. With more than one, each gets one thread.
        on_poll (`Callable`, *optional*): shows progress, several times a second. Replaces the bar over all runs.

    Returns:
        `list[Job]`: those that failed.
    """
    from tqdm import tqdm

    waiting = [job for job in jobs if not is_finished(job.folder)]
    failed: list[Job] = []
    running: dict[Job, RunProcess] = {}
    done, shown = len(jobs) - len(waiting), ""
    with tqdm(total=len(jobs), initial=done, desc="runs", unit="run", disable=on_poll is not None) as bar:
        try:
            while waiting or running:
                for job in [job for job, process in running.items() if process.is_over()]:
                    del running[job]
                    bar.update()
                    if not is_finished(job.folder):
                        failed.append(job)
                        bar.write(f"{job.folder} failed: {job.last_log_line()}", file=sys.stderr)
                while waiting and len(running) < at_a_time:
                    job = waiting.pop(0)
                    running[job] = RunProcess(job, one_thread=at_a_time > 1)
                if on_poll is not None:
                    on_poll()
                names = ", ".join(f"{job.trial.path.stem} {job.seed}" for job in running)
                if names != shown:  # or a log would get a line several times a second
                    bar.set_postfix_str(shown := names)
                time.sleep(0.2)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()
    return failed


class RunProcess:
    """A job that is running: in a process of ours, or in one that an earlier comparison left behind."""

    def __init__(self, job: Job, one_thread: bool):
        self.job, self.one_thread = job, one_thread
        self.process: subprocess.Popen[bytes] | None = None
        job.folder.mkdir(parents=True, exist_ok=True)
        self.lock: IO[str] = (job.folder / LOCK).open("w", encoding="utf-8")
        self._start_unless_locked()

    def is_over(self) -> bool:
        if self.process is None and not self.lock.closed:
            self._start_unless_locked()
        if self.process is not None and self.process.poll() is not None:
            self.lock.close()
        return self.lock.closed

    def terminate(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def wait(self) -> None:
        if self.process is not None:
            self.process.wait()

    def _start_unless_locked(self) -> None:
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
        with (self.job.folder / LOG).open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.job.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **threads, **self.job.environment},
                pass_fds=[self.lock.fileno()],  # the lock is held for as long as the run lives, even if we are killed
                start_new_session=True,
            )


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name == LOCK:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
