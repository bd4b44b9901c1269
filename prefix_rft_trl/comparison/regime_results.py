"""Write a map of regimes as JSON: cells, and each run once, by what it reached at its end."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from .regime_map import RegimeMap
from .results import PROBLEM_REWARDS, Experiment, Run
from .statistics import COSTS
from .winners import Winner, find_winner, judge


def map_to_json(regimes: RegimeMap[Experiment]) -> dict[str, Any]:
    """The map for `results.json`.

    `cells` have their levels, the winner, and for each method the name of its experiment. `experiments` by name have
    the final accuracy and cost of each seed with the reward of each problem, so that paired intervals can be computed
    from the file alone, and the settings that not all experiments of the method have; `methods` has the others.
    """
    shared = shared_settings(regimes)
    labels = {one.name: label for cell in regimes.cells.values() for label, one in cell.items()}
    distinct = {one.name: one for one in regimes.outcomes}
    return {
        "axes": [asdict(axis) for axis in regimes.axes],
        "planes": [
            {plane.rows.name: list(plane.row_levels), plane.columns.name: list(plane.column_levels)}
            for plane in regimes.planes
        ],
        "claims": [asdict(judge(claim, regimes)) for claim in regimes.claims],
        "cells": [
            {
                "levels": regimes.levels(place),
                "winner": asdict(winner) if isinstance(winner := find_winner(cell), Winner) else None,
                "methods": {label: one.name for label, one in cell.items()},
            }
            for place, cell in regimes.cells.items()
        ],
        "methods": shared,
        "experiments": {
            name: {
                "recipe": one.recipe,
                "planned_seeds": one.planned_seeds,
                "settings": {key: value for key, value in one.settings.items() if key not in shared[labels[name]]},
                "runs": [_final(run) for run in one.measured_runs],
            }
            for name, one in distinct.items()
        },
    }


def shared_settings(regimes: RegimeMap[Experiment]) -> dict[str, dict[str, Any]]:
    """The settings of each method, by its label, that it has in all cells."""
    return {label: _shared([cell[label] for cell in regimes.cells.values()]) for label in regimes.methods}


def _shared(experiments: list[Experiment]) -> dict[str, Any]:
    """The settings that all experiments have."""
    first, *others = experiments
    return {
        name: value
        for name, value in first.settings.items()
        if all(name in one.settings and one.settings[name] == value for one in others)
    }


def _final(run: Run) -> dict[str, Any]:
    end = run.curve[-1]
    costs = {cost: end[cost] for cost in COSTS}
    return {"seed": run.seed, "accuracy": run.accuracy, **costs, PROBLEM_REWARDS: list(_short(run.problem_rewards))}


def _short(rewards: Iterable[float | None]) -> Iterable[float | None]:
    """Rewards of 0 and 1 without a point, which takes half of the space."""
    return (int(one) if one is not None and float(one).is_integer() else one for one in rewards)
