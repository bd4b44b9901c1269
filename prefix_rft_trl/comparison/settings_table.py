"""What was set differently between the experiments of a table."""

from collections import Counter
from collections.abc import Sequence

from . import numerals
from .document import Block, Cells, Folded
from .results import Experiment, Table
from .statistics import comparable, differing_settings, differs, experiments_of


MOST_COLUMNS = 8


def settings_block(table: Table) -> list[Block]:
    """The differing settings of a table, folded; nothing if there are none."""
    names = differing_settings(experiments_of(table))
    if not names:
        return []
    if table.columns:
        cells = of_a_grid(table, names)
    elif len(table.rows) <= MOST_COLUMNS:
        cells = side_by_side(table, names)
    else:
        cells = what_is_unusual(table, names)
    return [Folded(f"Settings that differ: {table.title}", [cells])]


def side_by_side(table: Table, names: Sequence[str]) -> Cells:
    header = ["setting", *(row.label for row in table.rows)]
    rows = [[code(name), *(value(experiment, name) for experiment in experiments_of(table))] for name in names]
    return Cells("A dash: the recipe does not set it.", header, rows, numbers=False)


def of_a_grid(table: Table, names: Sequence[str]) -> Cells:
    """What changes from column to column; of what differs between rows alone, the names."""
    along = [name for name in names if any(differs(name, row.experiments) for row in table.rows)]
    header = ["setting", *(row.label for row in table.rows)]
    rows = [[code(name), *(along_the_row(row.experiments, name) for row in table.rows)] for name in along]
    caption = f"Values in the order of the columns: {', '.join(table.columns)}. A dash: the recipe does not set it."
    between = [code(name) for name in names if name not in along]
    if between:
        caption += f" Between the rows differ also {numerals.joined(between)}: see `results.json`."
    return Cells(caption, header, rows, numbers=False)


def along_the_row(experiments: Sequence[Experiment], name: str) -> str:
    if differs(name, experiments):
        return " / ".join(value(experiment, name) for experiment in experiments)
    return value(experiments[0], name) if experiments else numerals.NOTHING


def what_is_unusual(table: Table, names: Sequence[str]) -> Cells:
    """For many experiments: the settings in which each differs from most of the others."""
    experiments = experiments_of(table)
    usual = {name: most_common(experiments, name) for name in names}
    rows = [
        [row.label, ", ".join(deviations(experiment, usual)) or "as most"]
        for row in table.rows
        for experiment in row.experiments
    ]
    most = [
        f"{code(name)} {value(experiment, name)}" for name, experiment in usual.items() if name in experiment.settings
    ]
    caption = f"Most have {', '.join(most)}." if most else "Most set none of these."
    return Cells(caption, ["experiment", "differs from most by"], rows, numbers=False)


def most_common(experiments: Sequence[Experiment], name: str) -> Experiment:
    """The first experiment that has the most common value of a setting."""
    values = [comparable(experiment.settings, name) for experiment in experiments]
    return experiments[values.index(Counter(values).most_common(1)[0][0])]


def deviations(experiment: Experiment, usual: dict[str, Experiment]) -> list[str]:
    return [
        f"{code(name)} {value(experiment, name)}" if name in experiment.settings else f"no {code(name)}"
        for name, other in usual.items()
        if comparable(experiment.settings, name) != comparable(other.settings, name)
    ]


def value(experiment: Experiment, name: str) -> str:
    return numerals.setting(experiment.settings[name]) if name in experiment.settings else numerals.NOTHING


def code(name: str) -> str:
    return f"`{name}`"
