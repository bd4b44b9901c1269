"""Run the trainings of a comparison, several at a time and none of them twice.

A run lives in a folder named for its settings and its seed. It is finished once `trainer_state.json`, which training
writes last, is there. It ends with the comparison, even if that is killed, and resumes from its last checkpoint when
the comparison is started again. A run that another command has started in the folder is waited for.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prefix_rft_trl.run.folder import is_finished, last_checkpoint
from prefix_rft_trl.run.used_folder import remove_run
from prefix_rft_trl.utils.files import InUseError, exclusive_lock
from prefix_rft_trl.utils.processes import start_child

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
    """A job that runs in a process of ours, as soon as no other command writes into its folder."""

    def __init__(self, job: Job, one_thread: bool):
        self.job, self.one_thread = job, one_thread
        self.process: subprocess.Popen[bytes] | None = None
        self.was_finished = False
        job.folder.mkdir(parents=True, exist_ok=True)
        self._start_unless_locked()

    def is_over(self) -> bool:
        if self.process is None and not self.was_finished:
            self._start_unless_locked()
        return self.was_finished if self.process is None else self.process.poll() is not None

    def terminate(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def wait(self) -> None:
        if self.process is not None:
            self.process.wait()

    def _start_unless_locked(self) -> None:
        try:
            with exclusive_lock(self.job.folder, patience=0):
                self.was_finished = is_finished(self.job.folder)
                if self.was_finished:
                    return
                if not self.job.has_checkpoint:
                    remove_run(self.job.folder)
                    (self.job.folder / LOG).unlink(missing_ok=True)
        except InUseError:
            return
        threads = {"OMP_NUM_THREADS": "1"} if self.one_thread else {}
        with (self.job.folder / LOG).open("a", encoding="utf-8") as log:
            self.process = start_child(
                self.job.command(),
                env={**os.environ, **threads, **self.job.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
