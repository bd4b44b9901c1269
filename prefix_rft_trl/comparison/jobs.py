"""Run the trainings of a comparison, several at a time and none of them twice.

A run lives in a folder named for its settings and its seed. It is finished once `trainer_state.json`, which training
writes last, is there. It ends with the comparison, even if that is killed, and resumes from its last checkpoint when
the comparison is started again. A run that another command has started in the folder is waited for.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from prefix_rft_trl.run.folder import is_finished, last_checkpoint
from prefix_rft_trl.run.progress import PROGRESS
from prefix_rft_trl.run.used_folder import remove_run
from prefix_rft_trl.utils.files import InUseError, exclusive_lock
from prefix_rft_trl.utils.processes import kill_with_descendants, start_child
from prefix_rft_trl.utils.redaction import redacted

from .jobs_view import SEED, JobsView
from .trials import Trial


LOG = "log.txt"
HOW_TO_STOP = "Finishing the current steps. A second Ctrl-C stops at once. To continue, repeat the command."
END_OF_LOG = 20_000  # bytes
# The marks under a line of a traceback, and bars of progress
SAYS_NOTHING = re.compile(r"[\s^~]*|(?:(?!\d%\|).)*\d%\|[^|\n]*\|.*")


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
        resume = ["--resume_from_checkpoint", "last", "--overwrite", "false"] if self.has_progress else []
        return [*train, *self.trial.flags(), *where, *resume]

    @property
    def has_progress(self) -> bool:
        """Whether training goes on from a checkpoint, or from a stage that is finished."""
        has_checkpoint = any(last_checkpoint(checkpoint.parent) for checkpoint in self.folder.glob("**/checkpoint-*"))
        return has_checkpoint or any(is_finished(folder) for folder in self.stage_folders.values())

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def stage_folders(self) -> dict[str, Path]:
        """Where each stage writes, in order; a recipe without stages is one without a name."""
        *before, last = self.trial.stages or ("",)
        return {**{stage: self.folder / stage for stage in before}, last: self.folder}

    def log_tail(self, lines: int = 5) -> list[str]:
        """The last lines of the log, where most failures say what went wrong, without progress bars."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - END_OF_LOG))
            text = log.read().decode("utf-8", errors="replace")
        shown = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
        return [line for line in shown if not SAYS_NOTHING.fullmatch(line)][-lines:] or ["(its log is empty)"]


def job_names(jobs: list[Job]) -> dict[Job, str]:
    """A name for each job: its recipe, the overrides that not all jobs have, and its seed."""
    counts = Counter(repr(override) for job in jobs for override in job.trial.overrides.items())
    names = {
        job: [
            f"{name} {redacted(value, name)}"
            for name, value in job.trial.overrides.items()
            if counts[repr((name, value))] < len(jobs)
        ]
        for job in jobs
    }
    return {job: ", ".join([job.trial.path.stem, *own]) + f"{SEED}{job.seed}" for job, own in names.items()}


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


def run_jobs(
    jobs: list[Job],
    at_a_time: int,
    names: Mapping[Job, str] | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> list[Job]:
    """Run the jobs that are not finished, and show how far they are.

    Args:
        jobs (`list[Job]`): all of a comparison.
        at_a_time (`int`): number of concurrent runs. With more than one, each gets one thread.
        names (`Mapping[Job, str]`, *optional*): what the jobs are called; defaults to recipe and seed (`job_names`).
        on_stop (`Callable`): called when a signal has stopped them and all have ended after their present steps.

    Returns:
        `list[Job]`: those that failed.
    """
    waiting = [job for job in jobs if not is_finished(job.folder)]
    if not waiting:
        return []
    failed: list[Job] = []
    running: dict[Job, RunProcess] = {}
    with JobsView(names or job_names(jobs), waiting) as view:
        try:
            while waiting or running:
                for job in [job for job, process in running.items() if process.is_over()]:
                    view.end(job, running.pop(job).how_it_ended)
                    if not is_finished(job.folder):
                        failed.append(job)
                while waiting and len(running) < at_a_time:
                    job = waiting.pop(0)
                    running[job] = RunProcess(job, one_thread=at_a_time > 1)
                    view.begin(job)
                view.refresh({job: process.is_waiting for job, process in running.items()})
                time.sleep(0.2)
        except BaseException as error:
            _stop({job: process for job, process in running.items() if not process.is_waiting}, view)
            if not isinstance(error, Exception):
                on_stop()
            raise
    return failed


def _stop(running: Mapping[Job, "RunProcess"], view: JobsView) -> None:
    """Ends runs after their present steps, with a checkpoint; if this is interrupted in turn, at once."""
    try:
        for process in running.values():
            process.terminate()
        with suppress(OSError):  # of an output that is closed
            if running:
                view.say(HOW_TO_STOP)
            while not all(process.is_over() for process in running.values()):
                view.refresh(dict.fromkeys(view.running, False))
                time.sleep(0.2)
        for process in running.values():
            process.wait()
    finally:
        for process in running.values():
            process.kill()


class RunProcess:
    """A job that runs in a process of ours, as soon as no other command writes into its folder."""

    def __init__(self, job: Job, one_thread: bool):
        self.job, self.one_thread = job, one_thread
        self.process: subprocess.Popen[bytes] | None = None
        self.was_finished = False
        job.folder.mkdir(parents=True, exist_ok=True)
        self._start_unless_locked()

    def is_over(self) -> bool:
        if self.is_waiting:
            self._start_unless_locked()
        return self.was_finished if self.process is None else self.process.poll() is not None

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for another command that writes into its folder."""
        return self.process is None and not self.was_finished

    @property
    def how_it_ended(self) -> str:
        code = self.process.returncode if self.process is not None else 0
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"exit code {code}" if code else "it ended before its last step"

    def terminate(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def wait(self) -> None:
        if self.process is not None:
            self.process.wait()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_with_descendants(self.process)
            self.process.wait()

    def _start_unless_locked(self) -> None:
        try:
            with exclusive_lock(self.job.folder, patience=0):
                self.was_finished = is_finished(self.job.folder)
                if self.was_finished:
                    return
                if not self.job.has_progress:
                    remove_run(self.job.folder)
                    (self.job.folder / LOG).unlink(missing_ok=True)
                for folder in self.job.stage_folders.values():  # of a run that was killed
                    (folder / PROGRESS).unlink(missing_ok=True)
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
