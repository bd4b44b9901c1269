"""Results of a comparison: tables of experiments, each run with several seeds."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Run:
    """A recipe trained to its end with one seed.

    Attributes:
        seed (`int`): of the run.
        curve (`list[dict]`): a line for each measurement, the first before training and the last at its end: `step`
            (optimizer steps over all stages), `seconds` of training so far, `accuracy` on the held-out problems
            without any prefix, `length` of those answers in tokens, `generated_tokens` and `trained_tokens` so far,
            and what the trainer logged (`policy_entropy` in nats, `prefix/length` in tokens, ...).
    """

    seed: int
    curve: list[dict[str, Any]]


@dataclass(frozen=True)
class Experiment:
    """A recipe with its overrides, and its runs.

    Attributes:
        name (`str`): of the folder that holds its runs.
        recipe (`str`): the recipe's name, without `.yaml`.
        settings (`dict`): all settings of the recipe with the overrides, those of a stage as `stage.setting`.
        runs (`list[Run]`): one for each seed.
    """

    name: str
    recipe: str
    settings: dict[str, Any]
    runs: list[Run]

    @property
    def measured_runs(self) -> list[Run]:
        """The runs with at least one measurement."""
        return [run for run in self.runs if run.curve]


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
        tables (`list[ResultTable]`): the first holds the methods.
    """

    title: str
    command: str
    threshold: float
    measured: str
    tables: list[ResultTable]
