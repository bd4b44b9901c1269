"""What a comparison has found: tables of experiments, each run with several seeds."""

from dataclasses import asdict, dataclass
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
        runs (`list[Run]`): a run a seed.
    """

    name: str
    recipe: str
    settings: dict[str, Any]
    runs: list[Run]


@dataclass(frozen=True)
class Row:
    """A line of a table: one experiment in each column."""

    label: str
    experiments: list[Experiment]


@dataclass(frozen=True)
class Table:
    """Experiments side by side. A table without column titles has one experiment a row, and is told in full."""

    title: str
    note: str
    columns: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """All that a report tells.

    Attributes:
        title (`str`): of the report.
        command (`str`): that made it.
        threshold (`float`): accuracy of which the cost of reaching it is told.
        measured (`str`): what accuracy is, in a sentence.
        tables (`list[Table]`): the first holds the methods.
    """

    title: str
    command: str
    threshold: float
    measured: str
    tables: list[Table]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
