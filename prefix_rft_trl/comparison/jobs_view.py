"""Show runs while they train: live lines in a terminal, elsewhere a plain line for each now and then."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from prefix_rft_trl.run.folder import is_finished, read_curve
from prefix_rft_trl.run.progress import RunProgress
from prefix_rft_trl.utils.printable import printable

from .results import known_accuracy


if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.table import Table

    from .jobs import Job


SECONDS_BETWEEN_READS = 1.0
SECONDS_BETWEEN_LINES = 60.0  # of a run where there is no terminal
LINES_SO_FAR = 20  # of a run that takes longer: the next comes after a twentieth of the time so far
SEED = ", seed "  # in the name of a job
BAR, STEP, LEFT, ACCURACY = 12, 12, 12, 13  # widths of columns


@dataclass
class JobStatus:
    """
    What is known of a job that runs.

    Attributes:
        name (`str`): what it is called.
        started (`float`): on the monotonic clock.
        is_waiting (`bool`): whether another command writes into its folder.
        stage (`str`): that trains; empty for a recipe without stages.
        stages_done (`int`): stages before it.
        is_last_stage (`bool`): whether it ends the run.
        progress (`RunProgress`, *optional*): of that stage, once it trains.
        accuracy (`float`, *optional*): measured last.
    """

    name: str
    started: float = field(default_factory=time.monotonic)
    is_waiting: bool = False
    stage: str = ""
    stages_done: int = 0
    is_last_stage: bool = True
    progress: RunProgress | None = None
    accuracy: float | None = None

    def read(self, job: "Job") -> None:
        """Reads what the job has written into its folders."""
        stages = list(job.stage_folders.items())
        while self.stages_done + 1 < len(stages) and is_finished(stages[self.stages_done][1]):
            self.stages_done, self.progress = self.stages_done + 1, None
        self.stage, folder = stages[self.stages_done]
        self.is_last_stage = self.stages_done + 1 == len(stages)
        self.progress = RunProgress.read(folder) or self.progress
        with suppress(ValueError):  # a damaged curve is for the run to refuse
            if curve := read_curve(folder):
                accuracy = known_accuracy(curve[-1])
                self.accuracy = accuracy if math.isfinite(accuracy) else None

    @property
    def full_name(self) -> str:
        return f"{self.name}, {self.stage}" if self.stage else self.name

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        return self.progress.seconds_left_now if self.progress else None

    @property
    def accuracy_so_far(self) -> str:
        return "" if self.accuracy is None else f"accuracy {self.accuracy:.2f}"

    @property
    def step(self) -> str:
        if self.progress is None:
            return "waiting" if self.is_waiting else "starting"
        if self.progress.is_measuring:
            return "measuring"
        return f"step {self.progress.step}/{self.progress.steps}"

    @property
    def time(self) -> str:
        """The time that is left; before that is known, the time that has passed."""
        left = self.seconds_left
        return f"for {duration(self.seconds)}" if left is None else f"{duration(left)} left"


class JobsView:
    """
    Shows the jobs of a comparison, while it is open as a context manager.

    Args:
        names (`Mapping[Job, str]`): what each job is called, also of those that are finished.
        waiting (`Sequence[Job]`): those that are to run.
    """

    def __init__(self, names: "Mapping[Job, str]", waiting: "Sequence[Job]"):
        from rich.console import Console
        from rich.live import Live

        self.names = names
        self.running: dict[Job, JobStatus] = {}
        self.durations: list[float] = []
        self.waiting, self.done, self.failed = len(waiting), len(names) - len(waiting), 0
        self._started, self._read = time.monotonic(), 0.0
        self._next_line: dict[Job, float] = {}
        self.console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, force_jupyter=False)
        is_live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live = Live(console=self.console, auto_refresh=False, transient=True) if is_live else None

    def __enter__(self) -> "JobsView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, job: "Job") -> None:
        self.waiting -= 1
        self.running[job] = JobStatus(self.names[job])
        if self._live is None:
            self.console.print(f"{self.names[job]}: starts, log in {job.log}")
            self._next_line[job] = SECONDS_BETWEEN_LINES

    def end(self, job: "Job", reason: str) -> None:
        """A job is over; the reason counts if it has not finished."""
        status = self.running.pop(job)
        if is_finished(job.folder):
            status.read(job)
            self.done += 1
            self.durations.append(status.seconds)
            self.console.print(
                ", ".join(filter(None, [f"{status.name}: done in {duration(status.seconds)}", status.accuracy_so_far]))
            )
        else:
            self.failed += 1
            self.console.print(f"{status.full_name} failed ({reason}). The end of its log:")
            self.console.print(printable("".join(f"  | {line}\n" for line in job.log_tail())) + f"  log: {job.log}")

    def say(self, text: str) -> None:
        self.console.print(text)

    def refresh(self, is_waiting: "Mapping[Job, bool]") -> None:
        """Shows the present state; meant to be called several times a second.

        Args:
            is_waiting (`Mapping[Job, bool]`): whether another command writes into a job's folder.
        """
        now = time.monotonic()
        if now - self._read >= SECONDS_BETWEEN_READS:
            self._read = now
            for job, status in self.running.items():
                status.is_waiting = is_waiting[job]
                status.read(job)
        if self._live is not None:
            self._live.update(self.lines, refresh=True)
            return
        for job, status in self.running.items():
            if status.seconds >= self._next_line[job]:
                self._next_line[job] = status.seconds + max(SECONDS_BETWEEN_LINES, status.seconds / LINES_SO_FAR)
                parts = [status.step, status.time, status.accuracy_so_far]
                self.console.print(f"{status.full_name}: {', '.join(filter(None, parts))}")

    @property
    def lines(self) -> "Group":
        """What a terminal shows: two lines for each job that runs, and one for all."""
        from rich.console import Group
        from rich.text import Text

        lines = [
            line
            for job, status in self.running.items()
            for line in (self._job_line(status), Text(f"  log: {job.log}", style="dim", overflow="fold"))
        ]
        return Group(*lines, Text(self._summary()))

    def _job_line(self, status: JobStatus) -> "Table":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        progress = status.progress
        if progress is None or progress.is_measuring:
            bar = ProgressBar(width=BAR, total=None)
        else:
            bar = ProgressBar(progress.steps, progress.step, BAR)
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1, overflow="fold")
        for width in (BAR, STEP, LEFT, ACCURACY):
            line.add_column(width=width, no_wrap=True)
        line.add_row(_JobLabel(status.full_name), bar, status.step, status.time, status.accuracy_so_far)
        return line

    def _summary(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        left = self._seconds_left()
        about = "" if left is None else f", about {duration(left)} left"
        passed = duration(time.monotonic() - self._started)
        return f"{self.done} of {len(self.names)} runs done{failed}, {passed} passed{about}"

    def _seconds_left(self) -> float | None:
        """Of all runs: those that wait take as long as those that are done, as many at a time as now."""
        left = [status.seconds_left if status.is_last_stage else None for status in self.running.values()]
        known = [seconds for seconds in left if seconds is not None]
        if not known or len(known) < len(left) or (self.waiting and not self.durations):
            return None
        mean = sum(self.durations) / max(len(self.durations), 1)
        return max(max(known), (sum(known) + self.waiting * mean) / len(known))


class _JobLabel:
    """The name of a job in the width that there is: what comes before its seed is cut short, the seed never."""

    def __init__(self, name: str):
        self.start, seed, number = name.rpartition(SEED)
        self.end = seed + number if self.start else number

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.text import Text

        start, end = Text(self.start), Text(self.end)
        room = options.max_width - end.cell_len
        start.truncate(max(room, 1), overflow="ellipsis")
        yield start + end if start and room > 1 else Text(self.end.removeprefix(", "))


def duration(seconds: float) -> str:
    """`0:01:20`."""
    return str(timedelta(seconds=round(seconds)))
