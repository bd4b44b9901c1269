"""Say with what the runs of a report were made, and whether it was the same for all."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .rendering import MISSING, ReportTable, join_words
from .results import Comparison, Run


NOT_RECORDED = "not recorded"  # by a run of an earlier release
Facts = dict[str, str]


def provenance_table(comparison: Comparison) -> ReportTable:
    """Versions, hardware and dates of all runs, each fact with how many runs share it where they differ."""
    facts = _facts_of_runs(comparison)
    names = list(dict.fromkeys(name for found in facts for one in found for name in one))
    rows = [["runs", str(len(facts))], ["started", _dates(comparison)]]
    rows += [[name, _shared(name, facts)] for name in names]
    return ReportTable("What the runs were made with, as each of them has recorded it.", ["", ""], rows, numbers=False)


def differing_environments(comparison: Comparison) -> str:
    """A warning that names what differs between the runs; empty if nothing does."""
    facts = _facts_of_runs(comparison)
    names = dict.fromkeys(name for found in facts for one in found for name in one)
    differing = [name for name in names if len(_counts(name, facts)) > 1]
    if not differing:
        return ""
    return (
        f"Not all runs were made with the same {join_words(differing)} (see the end): differences between methods can "
        "come from that too."
    )


def _runs(comparison: Comparison) -> list[Run]:
    """Each run once, whatever tables and cells have it."""
    return [*{(one.name, run.seed): run for one in comparison.experiments for run in one.runs}.values()]


def _facts_of_runs(comparison: Comparison) -> list[list[Facts]]:
    """Facts of each run, more than once for a run that was resumed."""
    return [[_facts(one) for one in run.environments] for run in _runs(comparison)]


def _facts(environment: dict[str, Any]) -> Facts:
    cores, threads = environment.get("cores", 0), environment.get("threads", 0)
    facts = {
        "processor": f"{environment.get('processor', MISSING)}, {_count(cores, 'core')}",
        "threads of a process": str(threads),
        "processes": str(environment.get("processes", MISSING)),
    }
    if accelerator := environment.get("accelerator"):
        facts["accelerator"] = str(accelerator)
    return {**{str(name): str(version) for name, version in environment.get("versions", {}).items()}, **facts}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _counts(name: str, facts: Sequence[Sequence[Facts]]) -> Counter[str]:
    """How many runs have each value of a fact. A run that was resumed with another has both, in one."""
    values = (dict.fromkeys(one.get(name, "none") for one in found) for found in facts)
    return Counter(join_words(list(found)) if found else NOT_RECORDED for found in values)


def _shared(name: str, facts: Sequence[Sequence[Facts]]) -> str:
    counts = _counts(name, facts)
    if len(counts) == 1:
        return next(iter(counts))
    return join_words([f"{value} ({_count(number, 'run')})" for value, number in counts.most_common()])


def _dates(comparison: Comparison) -> str:
    dates = sorted(str(one["started"]) for run in _runs(comparison) for one in run.environments if "started" in one)
    if not dates:
        return NOT_RECORDED
    return f"{dates[0]} UTC" if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]} UTC"
