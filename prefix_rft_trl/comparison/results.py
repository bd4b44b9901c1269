"""Results of a comparison: tables of experiments, each run with several seeds."""

import math
from dataclasses import dataclass, field
from typing import Any

from prefix_rft_trl.run.folder import is_scored

from .regime_map import RegimeMap


PROBLEM_REWARDS = "problem_rewards"  # in a measurement


@dataclass(frozen=True)
class Run:
    """A recipe trained to its end with one seed.

    Attributes:
        seed (`int`): of the run.
        curve (`list[dict]`): a line for each measurement, the first before training and the last at its end: `step`
            (optimizer steps over all stages), `seconds` of training so far, `accuracy` on the held-out problems
            without any prefix, `problems`, the number of those that could be scored, `length` of the answers in
            tokens, `truncated`, the share of them that the budget has cut off, `generated_tokens` and
            `trained_tokens` so far, and what the trainer logged (`policy_entropy` in nats, `prefix/length` in tokens,
            ...). The last one also has `problem_rewards`, the reward of each problem.
        environments (`list[dict]`): what it trained with, as in its `environment.jsonl`.
    """

    seed: int
    curve: list[dict[str, Any]]
    environments: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """The final accuracy; NaN if it is unknown."""
        return known_accuracy(self.curve[-1]) if self.curve else math.nan

    @property
    def problems(self) -> int:
        """The number of problems that the final accuracy is a mean over; 0 if that is unknown."""
        return self.curve[-1].get("problems", 0) if self.curve else 0

    @property
    def problem_rewards(self) -> list[float | None]:
        """The final reward of each problem, `None` where it could not be scored; empty if they are not recorded."""
        return self.curve[-1].get(PROBLEM_REWARDS) or [] if self.curve else []

    @property
    def asked(self) -> int:
        """The number of problems that it was measured on; 0 if that is unknown."""
        return len(self.problem_rewards) or self.problems


def known_accuracy(line: dict[str, Any]) -> float:
    """The accuracy of a measurement; NaN where no problem could be scored."""
    return float(line["accuracy"]) if is_scored(line) else math.nan


@dataclass(frozen=True)
class Experiment:
    """A recipe with its overrides, and its runs.

    Attributes:
        name (`str`): of the folder that holds its runs.
        recipe (`str`): the recipe's name, without `.yaml`.
        settings (`dict`): all settings of the recipe with the overrides, those of a stage as `stage.setting`.
        runs (`list[Run]`): one for each seed.
        planned_seeds (`int`): runs that it is to have; 0 if that is unknown.
    """

    name: str
    recipe: str
    settings: dict[str, Any]
    runs: list[Run]
    planned_seeds: int = 0

    @property
    def measured_runs(self) -> list[Run]:
        """The runs whose final accuracy is known."""
        return [run for run in self.runs if math.isfinite(run.accuracy)]


@dataclass(frozen=True)
class ResultRow:
    """A row of a table: one experiment in each column."""

    label: str
    experiments: list[Experiment]


@dataclass(frozen=True)
class ResultTable:
    """Experiments side by side. A table without column titles has one experiment a row and is reported in full."""

    title: str
    note: str
    columns: list[str]
    rows: list[ResultRow]

    @property
    def experiments(self) -> list[Experiment]:
        return [experiment for row in self.rows for experiment in row.experiments]


@dataclass(frozen=True)
class Comparison:
    """All that a report is made from.

    Attributes:
        title (`str`): of the report.
        command (`str`): that made it.
        threshold (`float`): accuracy for which the report gives the cost of reaching it.
        measured (`str`): what accuracy is, in a sentence.
        tables (`list[ResultTable]`): the first holds the methods, where there is no map.
        map (`RegimeMap`, *optional*): what each method has reached in each cell.
        note (`str`): on the map.
    """

    title: str
    command: str
    threshold: float
    measured: str
    tables: list[ResultTable]
    map: RegimeMap[Experiment] | None = None
    note: str = ""

    @property
    def experiments(self) -> list[Experiment]:
        """All, those of tables first; one can be there more than once."""
        return [one for table in self.tables for one in table.experiments] + (self.map.outcomes if self.map else [])
