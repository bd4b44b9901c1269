"""Show the settings that differ between the experiments of a table."""

from collections import Counter
from collections.abc import Sequence

from .rendering import MISSING, ReportTable, format_setting, join_words
from .results import Experiment, ResultTable
from .statistics import comparable, differing_settings, differs


MAX_COLUMNS = 8


def settings_table(table: ResultTable) -> ReportTable | None:
    """The differing settings of a table; `None` if there are none."""
    names = differing_settings(table.experiments)
    if not names:
        return None
    if table.columns:
        return _along_columns(table, names)
    return (_side_by_side if len(table.rows) <= MAX_COLUMNS else _deviations_from_most)(table, names)


def _table(table: ResultTable, caption: str, header: list[str], rows: list[list[str]]) -> ReportTable:
    return ReportTable(caption, header, rows, title=f"Settings that differ: {table.title}", numbers=False)


def _side_by_side(table: ResultTable, names: Sequence[str]) -> ReportTable:
    rows = [[f"`{name}`", *(_value(experiment, name) for experiment in table.experiments)] for name in names]
    header = ["setting", *(row.label for row in table.rows)]
    return _table(table, "A dash: the recipe does not set it.", header, rows)


def _along_columns(table: ResultTable, names: Sequence[str]) -> ReportTable:
    """What changes from column to column; settings that differ between rows alone are named in the caption."""
    along = [name for name in names if any(differs(name, row.experiments) for row in table.rows)]
    rows = [[f"`{name}`", *(_row_values(row.experiments, name) for row in table.rows)] for name in along]
    caption = f"Values in the order of the columns: {', '.join(table.columns)}. A dash: the recipe does not set it."
    if between := [f"`{name}`" for name in names if name not in along]:
        caption += f" Rows also differ in {join_words(between)}: see `results.json`."
    return _table(table, caption, ["setting", *(row.label for row in table.rows)], rows)


def _row_values(experiments: Sequence[Experiment], name: str) -> str:
    if differs(name, experiments):
        return " / ".join(_value(experiment, name) for experiment in experiments)
    return _value(experiments[0], name) if experiments else MISSING


def _deviations_from_most(table: ResultTable, names: Sequence[str]) -> ReportTable:
    """For many experiments: the settings in which each differs from most of the others."""
    usual = {name: _most_common(table.experiments, name) for name in names}
    rows = [
        [row.label, ", ".join(_deviations(experiment, usual)) or "as most"]
        for row in table.rows
        for experiment in row.experiments
    ]
    most = [f"`{name}` {_value(one, name)}" for name, one in usual.items() if name in one.settings]
    caption = f"Most have {', '.join(most)}." if most else "Most set none of these."
    return _table(table, caption, ["experiment", "differs from most by"], rows)


def _most_common(experiments: Sequence[Experiment], name: str) -> Experiment:
    """The first experiment that has the most common value of a setting."""
    values = [comparable(experiment.settings, name) for experiment in experiments]
    return experiments[values.index(Counter(values).most_common(1)[0][0])]


def _deviations(experiment: Experiment, usual: dict[str, Experiment]) -> list[str]:
    return [
        f"`{name}` {_value(experiment, name)}" if name in experiment.settings else f"no `{name}`"
        for name, other in usual.items()
        if comparable(experiment.settings, name) != comparable(other.settings, name)
    ]


def _value(experiment: Experiment, name: str) -> str:
    return format_setting(experiment.settings[name]) if name in experiment.settings else MISSING
