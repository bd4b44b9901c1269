"""`results.json`: all that was measured, and what was computed from it."""

import json
import math
from dataclasses import asdict
from typing import Any

from .results import Comparison, Experiment, Table
from .statistics import CONFIDENCE, differing_settings, experiments_of, summarize


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
