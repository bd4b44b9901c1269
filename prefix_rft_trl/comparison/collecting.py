"""From the folders of runs to the results that a report is made of."""

from pathlib import Path
from typing import Any

from prefix_rft_trl.run.folder import has_ended, read_curve

from .jobs import jobs_of
from .results import Comparison, Experiment, Row, Run, Table
from .spec import Specification, Trial
from .statistics import COSTS


def collect(specification: Specification, folder: Path, command: str, measured: str) -> Comparison:
    """The results of all runs that have ended."""
    tables = [
        Table(
            table.title,
            table.note,
            table.columns,
            [Row(label, [experiment(trial, folder) for trial in trials]) for label, trials in table.rows],
        )
        for table in specification.tables
    ]
    return Comparison(specification.title, command, specification.threshold, measured, tables)


def experiment(trial: Trial, folder: Path) -> Experiment:
    ended = [job for job in jobs_of([trial], folder) if has_ended(job.folder)]
    before_last = trial.stages[:-1]
    runs = [Run(job.seed, whole_curve([job.folder / stage for stage in before_last] + [job.folder])) for job in ended]
    return Experiment(trial.name, trial.path.stem, trial.settings, runs)


def whole_curve(folders: list[Path]) -> list[dict[str, Any]]:
    """The curves of the stages of a run, one after the other: what a later one costs comes on top."""
    whole: list[dict[str, Any]] = []
    for folder in folders:
        before = {name: whole[-1][name] if whole else 0 for name in COSTS}
        lines = read_curve(folder)[1 if whole else 0 :]  # a stage starts where the one before has ended
        whole += [line | {name: line[name] + before[name] for name in COSTS} for line in lines]
    return whole
