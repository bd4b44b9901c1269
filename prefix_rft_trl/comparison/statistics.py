"""Compute what a report says of the runs: means with their uncertainty, costs, budgets, and differing settings."""

import json
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from prefix_rft_trl.utils.intervals import Estimate, estimate

from .results import Experiment, Run, known_accuracy
from .uncertainty import MeanOverRuns, mean_accuracy


COSTS = ("step", "seconds", "generated_tokens", "trained_tokens")
OUTPUT_NAMES = {"output_dir", "logging_dir", "run_name", "hub_model_id"}  # they differ and change nothing


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
    """An experiment over its seeds.

    Attributes:
        base (`float`): mean accuracy before training.
        final (`MeanOverRuns`): accuracy at the end.
        best (`float`): mean of each run's highest accuracy, measured along the way.
        truncated (`float`, *optional*): mean share of the last answers that the budget has cut off, if it is known.
        total (`Cost`): mean cost of a run.
        to_threshold (`CostToThreshold`): mean cost until an accuracy.
    """

    base: float
    final: MeanOverRuns
    best: float
    truncated: float | None
    total: Cost
    to_threshold: CostToThreshold


def summarize(experiment: Experiment, threshold: float) -> Summary | None:
    """The experiment over its seeds; `None` without runs whose final accuracy is known."""
    runs = experiment.measured_runs
    if not runs:
        return None
    return Summary(
        base=_mean([known_accuracy(run.curve[0]) for run in runs]),
        final=mean_accuracy(runs),
        best=_mean([max(filter(math.isfinite, map(known_accuracy, run.curve))) for run in runs]),
        truncated=truncated_share(experiment),
        total=_mean_cost([_cost_at(run.curve[-1]) for run in runs]),
        to_threshold=cost_to_threshold(runs, threshold),
    )


def truncated_share(experiment: Experiment) -> float | None:
    """The mean share of the last answers that the budget has cut off; `None` if no run says it.

    Of runs of earlier releases it is known where all were: their mean length is the budget.
    """
    limit = experiment.settings.get("measure_max_new_tokens", math.inf)
    ends = [run.curve[-1] for run in experiment.measured_runs]
    full = [1.0 if end.get("length", 0) >= limit else None for end in ends]
    shares = [end.get("truncated", known) for end, known in zip(ends, full, strict=True)]
    found = [share for share in shares if share is not None]
    return _mean(found) if found else None


def cost_to_threshold(runs: Sequence[Run], threshold: float) -> CostToThreshold:
    costs = [cost for run in runs if (cost := cost_to_reach(run, threshold)) is not None]
    return CostToThreshold(len(costs), len(runs), _mean_cost(costs) if costs else None)


def cost_to_reach(run: Run, threshold: float) -> Cost | None:
    """What the run had spent at its first measurement at or above the threshold; `None` if there is none."""
    return next((_cost_at(line) for line in run.curve if known_accuracy(line) >= threshold), None)


def _cost_at(line: dict[str, Any]) -> Cost:
    return Cost(*(line[cost] for cost in COSTS))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(*map(_mean, zip(*map(astuple, costs), strict=True)))


def mean_curve(runs: Sequence[Run], key: str) -> dict[int, Estimate]:
    """The mean of `key` by step, where all measured runs have a finite value of it."""
    by_step = [
        {line["step"]: value for line in run.curve if _is_number(value := _value(line, key))}
        for run in runs
        if run.curve
    ]
    shared = set.intersection(*map(set, by_step)) if by_step else set()
    return {step: estimate([values[step] for values in by_step]) for step in sorted(shared)}


def _value(line: dict[str, Any], key: str) -> Any:
    return known_accuracy(line) if key == "accuracy" else line.get(key)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def differing_settings(experiments: Sequence[Experiment]) -> list[str]:
    """Names of the settings that are not the same in all experiments, in the order in which they first appear.

    A setting that an experiment does not have counts as different. Names of outputs are left out.
    """
    names = dict.fromkeys(name for experiment in experiments for name in experiment.settings)
    return [name for name in names if name.rsplit(".", 1)[-1] not in OUTPUT_NAMES and differs(name, experiments)]


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


@dataclass(frozen=True)
class Budget:
    """What one run sees on one process. A prompt or a demonstration counts each time it is drawn.

    Attributes:
        prompts (`int`): that rollouts are made for.
        sampled (`int`): rollouts that the policy writes, or continues from a prefix.
        demonstrations (`int`): complete demonstrations that are trained on.
    """

    prompts: int
    sampled: int
    demonstrations: int


def budget(settings: dict[str, Any]) -> Budget | None:
    """The budget of all stages together; `None` if it cannot be computed from the settings."""
    stages = list(dict.fromkeys(name.partition(".")[0] for name in settings if "." in name)) or [""]
    budgets = [_stage_budget(_stage_settings(settings, stage)) for stage in stages]
    known = [astuple(one) for one in budgets if one is not None]
    return Budget(*map(sum, zip(*known, strict=True))) if len(known) == len(budgets) else None


def _stage_settings(settings: dict[str, Any], stage: str) -> dict[str, Any]:
    shared = {name: value for name, value in settings.items() if "." not in name}
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{stage}.")}
    return shared | own


def _stage_budget(settings: dict[str, Any]) -> Budget | None:
    steps, batch = settings.get("max_steps", -1), settings.get("per_device_train_batch_size")
    if steps < 1 or batch is None or _depends_on_rewards(settings):
        return None
    passes = steps * settings.get("gradient_accumulation_steps", 1)
    rows = passes * batch
    if settings.get("trainer") == "sft":
        return Budget(0, 0, rows)
    rollouts = rows // settings.get("num_iterations", 1)
    prompts = rollouts // settings.get("num_generations", 8)
    is_complete = settings.get("prefix_ratio_schedule") == "whole"
    guided = round(prompts * settings.get("prefix_prompt_share", 1.0)) if is_complete else 0
    complete = guided * settings.get("num_prefix_generations", 1)
    further = passes * settings.get("per_device_demonstration_batch_size", 0)
    return Budget(prompts, rollouts - complete, complete + further)


def _depends_on_rewards(settings: dict[str, Any]) -> bool:
    """Whether what is sampled depends on what was solved: further samples of a group, or own successes."""
    return bool(settings.get("prefix_stage_ratios")) or settings.get("demonstration_source") == "own"
