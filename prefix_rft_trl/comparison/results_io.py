"""`results.json`: all that was measured, and what was computed from it."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefix_rft_trl.run.folder import has_ended, read_curve
from prefix_rft_trl.utils.intervals import CONFIDENCE

from .jobs import jobs_for
from .results import Comparison, Experiment, Row, Run, Table
from .spec import Specification, Trial
from .statistics import COSTS, differing_settings, experiments_of, summarize


def as_json(comparison: Comparison) -> str:
    """The comparison with a `summary` beside each experiment's runs; a measurement a line.

    Numbers that JSON does not have (NaN, infinity) become `null`.
    """
    told = {
        **comparison.to_dict(),
        "confidence": CONFIDENCE,
        "tables": [of_table(table, comparison.threshold) for table in comparison.tables],
    }
    return written(finite(told)) + "\n"


def of_table(table: Table, threshold: float) -> dict[str, Any]:
    rows = [
        {"label": row.label, "experiments": [of_experiment(experiment, threshold) for experiment in row.experiments]}
        for row in table.rows
    ]
    return {**asdict(table), "rows": rows, "differing_settings": differing_settings(experiments_of(table))}


def of_experiment(experiment: Experiment, threshold: float) -> dict[str, Any]:
    summary = summarize(experiment, threshold)
    runs = [asdict(run) for run in experiment.runs]
    return {**asdict(experiment), "summary": summary and asdict(summary), "runs": runs}


def finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def written(value: Any, indent: str = "") -> str:
    """JSON in which each measurement and each list of plain values has one line."""
    if isinstance(value, dict) and value:
        items = [f"{text(key)}: {written(inner, indent + ' ')}" for key, inner in value.items()]
    elif isinstance(value, list) and not is_plain(value):
        items = [text(inner) if is_plain(inner) else written(inner, indent + " ") for inner in value]
    else:
        return text(value)
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{indent} " + f",\n{indent} ".join(items) + f"\n{indent}{end}"


def is_plain(value: Any) -> bool:
    """Whether it holds no list and no dictionary."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not any(isinstance(one, dict | list) for one in inner)


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)


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
    ended = [job for job in jobs_for([trial], folder) if has_ended(job.folder)]
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
