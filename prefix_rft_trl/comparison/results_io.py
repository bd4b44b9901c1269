"""Collect the results of finished runs, and write them to `results.json`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prefix_rft_trl.run.folder import is_finished, read_curve, read_environments
from prefix_rft_trl.utils.intervals import CONFIDENCE

from .jobs import jobs_for
from .regime_map import RegimeMap
from .regime_results import map_to_json
from .results import PROBLEM_REWARDS, Comparison, Experiment, ResultRow, ResultTable, Run
from .spec import Specification
from .statistics import COSTS, differing_settings, summarize
from .trials import Trial


def collect(specification: Specification, folder: Path, command: str, measured: str) -> Comparison:
    """The results of all runs that are finished."""
    tables = [
        ResultTable(
            table.title,
            table.note,
            table.columns,
            [ResultRow(label, [collect_runs(trial, folder) for trial in trials]) for label, trials in table.rows],
        )
        for table in specification.tables
    ]
    regimes = _collect_map(specification.map, folder) if specification.map else None
    threshold, note = specification.threshold, specification.note
    return Comparison(specification.title, command, threshold, measured, tables, regimes, note)


def _collect_map(planned: RegimeMap[Trial], folder: Path) -> RegimeMap[Experiment]:
    """The map with the runs of each trial, read once however many cells share it."""
    found = {trial.name: collect_runs(trial, folder) for trial in {one.name: one for one in planned.outcomes}.values()}
    return planned.mapped(lambda trial: found[trial.name])


def collect_runs(trial: Trial, folder: Path) -> Experiment:
    runs = [
        Run(job.seed, join_curves(folders), [line for folder in folders for line in read_environments(folder)])
        for job in jobs_for([trial], folder)
        if is_finished(job.folder) and (folders := list(job.stage_folders.values()))
    ]
    return Experiment(trial.name, trial.path.stem, trial.settings, runs, trial.seeds)


def join_curves(folders: list[Path]) -> list[dict[str, Any]]:
    """The curves of a run's stages, one after the other: the costs of a later stage are added to those before it.

    The rewards of single problems stay at the last measurement alone.
    """
    joined: list[dict[str, Any]] = []
    for folder in folders:
        before = {name: joined[-1][name] if joined else 0 for name in COSTS}
        lines = read_curve(folder)[1 if joined else 0 :]  # a stage starts where the one before has ended
        joined += [line | {name: line[name] + before[name] for name in COSTS} for line in lines]
    for line in joined[:-1]:
        line.pop(PROBLEM_REWARDS, None)
    return joined


def to_json(comparison: Comparison) -> str:
    """The comparison with a `summary` of each experiment; one measurement per line.

    Numbers that JSON does not have (NaN, infinity) become `null`.
    """
    found = {**asdict(replace(comparison, map=None)), "confidence": CONFIDENCE}
    found |= {"map": comparison.map and map_to_json(comparison.map)}
    for table, plain in zip(comparison.tables, found["tables"], strict=True):
        plain["differing_settings"] = differing_settings(table.experiments)
        for row, plain_row in zip(table.rows, plain["rows"], strict=True):
            for experiment, plain_experiment in zip(row.experiments, plain_row["experiments"], strict=True):
                summary = summarize(experiment, comparison.threshold)
                plain_experiment["summary"] = summary and asdict(summary)
    finite = json.loads(json.dumps(found, default=str), parse_constant=lambda name: None)
    return _layout(finite) + "\n"


def _layout(value: Any, indent: str = "") -> str:
    """JSON in which a list or an object that holds no other, such as a measurement, has one line."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(one, dict | list) for one in inner):
        return json.dumps(value, ensure_ascii=False)
    deeper = indent + " "
    if isinstance(value, dict):
        items, (start, end) = [f"{json.dumps(key)}: {_layout(one, deeper)}" for key, one in value.items()], "{}"
    else:
        items, (start, end) = [_layout(one, deeper) for one in value], "[]"
    return f"{start}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{end}"
