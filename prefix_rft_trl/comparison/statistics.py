"""What the runs of a comparison say together: means with their uncertainty, costs, and what was set differently."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prefix_rft_trl.utils.intervals import Estimate, estimate

from .results import Experiment, Run, Table


COSTS = ("step", "seconds", "generated_tokens", "trained_tokens")

NAMES_OF_A_RUN = {"output_dir", "logging_dir", "run_name", "hub_model_id"}  # they differ and change nothing


@dataclass(frozen=True)
class Cost:
    """What a run has spent: optimizer steps, seconds of training, tokens sampled and tokens in the loss."""

    step: float
    seconds: float
    generated_tokens: float
    trained_tokens: float


@dataclass(frozen=True)
class CostToThreshold:
    """How many of the runs reach an accuracy, and the mean cost of those that do (`None` if none does)."""

    reached: int
    runs: int
    mean: Cost | None


@dataclass(frozen=True)
class Summary:
    """An experiment over its seeds. `best` is the mean of each run's highest accuracy, measured along the way."""

    base: Estimate
    final: Estimate
    best: Estimate
    total: Cost
    to_threshold: CostToThreshold


@dataclass(frozen=True)
class Point:
    """Of a mean curve: the optimizer step and what was measured there over the seeds."""

    step: int
    value: Estimate


def finished(runs: Iterable[Run]) -> list[Run]:
    """The runs of which anything was measured."""
    return [run for run in runs if run.curve]


def cost_at(line: dict[str, Any]) -> Cost:
    return Cost(*(line[cost] for cost in COSTS))


def cost_to_reach(run: Run, threshold: float) -> Cost | None:
    """What the run had spent at its first measurement at or above the threshold; `None` if there is none."""
    return next((cost_at(line) for line in run.curve if line["accuracy"] >= threshold), None)


def mean_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(*(math.fsum(getattr(cost, name) for cost in costs) / len(costs) for name in COSTS))


def cost_to_threshold(runs: Sequence[Run], threshold: float) -> CostToThreshold:
    costs = [cost for run in runs if (cost := cost_to_reach(run, threshold)) is not None]
    return CostToThreshold(len(costs), len(runs), mean_cost(costs) if costs else None)


def summarize(experiment: Experiment, threshold: float) -> Summary | None:
    """The experiment over its seeds; `None` if it has no runs."""
    runs = finished(experiment.runs)
    if not runs:
        return None
    return Summary(
        base=estimate([run.curve[0]["accuracy"] for run in runs]),
        final=estimate([run.curve[-1]["accuracy"] for run in runs]),
        best=estimate([max(line["accuracy"] for line in run.curve) for run in runs]),
        total=mean_cost([cost_at(run.curve[-1]) for run in runs]),
        to_threshold=cost_to_threshold(runs, threshold),
    )


def mean_curve(runs: Sequence[Run], key: str) -> list[Point]:
    """The mean of `key` at each step at which all seeds have a finite value of it."""
    by_step = [{line["step"]: line[key] for line in run.curve if is_number(line.get(key))} for run in finished(runs)]
    if not by_step:
        return []
    shared = set(by_step[0]).intersection(*by_step[1:])
    return [Point(step, estimate([values[step] for values in by_step])) for step in sorted(shared)]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def differing_settings(experiments: Sequence[Experiment]) -> list[str]:
    """Names of the settings that are not the same in all experiments, in the order in which they first appear.

    A setting that an experiment does not have counts as different. Names of outputs are left out.
    """
    names = dict.fromkeys(name for experiment in experiments for name in experiment.settings)
    return [name for name in names if not names_a_run(name) and differs(name, experiments)]


def names_a_run(setting: str) -> bool:
    return setting.rsplit(".", 1)[-1] in NAMES_OF_A_RUN


def differs(setting: str, experiments: Sequence[Experiment]) -> bool:
    return len({comparable(experiment.settings, setting) for experiment in experiments}) > 1


def comparable(settings: dict[str, Any], setting: str) -> str | None:
    """The value as text that is equal for equal values: 1 and 1.0 are, 1 and True are not."""
    if setting not in settings:
        return None
    value = settings[setting]
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return json.dumps(value, sort_keys=True, default=str)


def best_of_columns(estimates: Sequence[Sequence[Estimate | None]]) -> set[tuple[int, int]]:
    """Positions (row, column) of what nothing in its column is known to beat.

    That is the highest mean of a column and all whose interval overlaps its interval. A column says nothing if an
    experiment in it has a single seed, or if all of its experiments are as good as the best.
    """
    best: set[tuple[int, int]] = set()
    for column in range(len(estimates[0]) if estimates else 0):
        cells = {row: line[column] for row, line in enumerate(estimates)}
        known = {row: cell for row, cell in cells.items() if cell is not None}
        if len(known) < 2 or any(cell.half_width is None for cell in known.values()):
            continue
        highest = max(known.values(), key=lambda cell: cell.mean)
        as_good = {row for row, cell in known.items() if cell.overlaps(highest)}
        if len(as_good) < len(known):
            best |= {(row, column) for row in as_good}
    return best


def experiments_of(table: Table) -> list[Experiment]:
    return [experiment for row in table.rows for experiment in row.experiments]


def base_accuracies(experiments: Sequence[Experiment]) -> list[float]:
    """Accuracy before any training, a run each."""
    return [run.curve[0]["accuracy"] for experiment in experiments for run in finished(experiment.runs)]


@dataclass(frozen=True)
class Budget:
    """What one run sees on one process. A prompt or a demonstration counts each time it is drawn.

    Attributes:
        prompts (`int`): that rollouts are made for.
        sampled (`int`): rollouts that the policy writes, or goes on with from a prefix.
        demonstrations (`int`): that are trained on as a whole.
    """

    prompts: int
    sampled: int
    demonstrations: int


def budget(settings: dict[str, Any]) -> Budget | None:
    """Of all stages together; `None` if the settings do not tell."""
    stages = list(dict.fromkeys(name.partition(".")[0] for name in settings if "." in name)) or [""]
    of_stages = [budget_of_stage(settings_of_stage(settings, stage)) for stage in stages]
    told = [of_stage for of_stage in of_stages if of_stage is not None]
    if len(told) < len(of_stages):
        return None
    return Budget(
        sum(of_stage.prompts for of_stage in told),
        sum(of_stage.sampled for of_stage in told),
        sum(of_stage.demonstrations for of_stage in told),
    )


def settings_of_stage(settings: dict[str, Any], stage: str) -> dict[str, Any]:
    shared = {name: value for name, value in settings.items() if "." not in name}
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{stage}.")}
    return shared | own


def budget_of_stage(settings: dict[str, Any]) -> Budget | None:
    steps, batch = settings.get("max_steps", -1), settings.get("per_device_train_batch_size")
    if steps < 1 or batch is None:
        return None
    rows = steps * batch * settings.get("gradient_accumulation_steps", 1)
    if settings.get("trainer") == "sft":
        return Budget(0, 0, rows)
    rollouts = rows // settings.get("num_iterations", 1)
    prompts = rollouts // settings.get("num_generations", 8)
    is_whole = settings.get("prefix_ratio_schedule") == "whole"
    whole = prompts * settings.get("num_prefix_generations", 1) if is_whole else 0
    return Budget(prompts, rollouts - whole, whole)
