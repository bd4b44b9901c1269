"""Tables of final accuracies and of their paired differences, and sentences on what they tell."""

import math
from collections.abc import Mapping, Sequence

from .rendering import MISSING, ReportTable, format_mean, join_words, markdown_width
from .results import Experiment, ResultTable, known_accuracy
from .statistics import summarize
from .uncertainty import FEWEST_SEEDS, MeanOverRuns, best_row, mean_accuracy, mean_difference


HEADLINE_WIDTH = 80  # columns of a terminal
MUCH_CUT_OFF = 0.1  # of the answers
BEST = "highest"  # in place of its difference from itself
Differences = dict[int, MeanOverRuns | None]  # of each row from the highest

INTERVAL = (
    "In brackets: the 95% interval. It stays within its bounds: it is Wilson's, with as many draws as would give its "
    "half width by Student's t."
)
MEANING = {  # of an interval, by what it is over
    ("seeds", "problems"): (
        "It is over seeds and problems (half widths added as squares): it says how far other seeds and other problems "
        "of this kind would move the figure."
    ),
    ("seeds",): (
        "Runs that have not recorded the reward of each problem (those of earlier releases) have it over seeds alone: "
        "it says nothing of other problems."
    ),
    ("problems",): (
        "A single seed, or seeds that ended alike without a record of each problem, have it over problems alone: it "
        "says nothing of other seeds."
    ),
}
BOLD = (
    "Bold: a row that is told apart from every other row, in a grid from every other row of its column. That is: at "
    "least two seeds are paired, and the interval of the paired difference lies above 0. Where no row is, none is "
    "bold. Each interval stands by itself: one in 20 misses, and tables have many."
)


def headline(table: ResultTable, threshold: float) -> ReportTable:
    """The final accuracies of a table without columns; it fits a terminal if the labels do."""
    rows = []
    for row in table.rows:
        found = summarize(row.experiments[0], threshold)
        reached = f"{found.to_threshold.reached} of {found.to_threshold.runs}" if found else MISSING
        best = f"{found.best:.3f}" if found else MISSING
        seeds = str(found.final.seeds) if found else "0"
        rows.append([row.label, seeds, format_mean(found.final) if found else MISSING, best, reached])
    bold = {(row, 2) for row in told_apart_rows([row.experiments[0] for row in table.rows])}
    header = ["", "seeds", "final accuracy", "best", f"reaches {threshold:g}"]
    caption = (
        "Final accuracy, mean over seeds, with the 95% interval in brackets. Best: mean of each run's highest on the "
        f"way, which lies above the final one by chance alone. Reaches {threshold:g}: how many seeds do."
    )
    columns = len(header)
    while columns > 3 and markdown_width(_columns(header, rows, columns)) > HEADLINE_WIDTH:
        columns -= 1  # the tables below have it too
    header, *rows = _columns(header, rows, columns)
    return ReportTable(caption, header, rows, bold=bold)


def _columns(header: list[str], rows: list[list[str]], number: int) -> list[list[str]]:
    return [line[:number] for line in (header, *rows)]


def accuracy_grid(table: ResultTable) -> ReportTable:
    """The final accuracies of a table with columns."""
    columns = [_column(table, place) for place in range(len(table.columns))]
    found = [[mean_accuracy(one.measured_runs) if one else None for one in column] for column in columns]
    counts = {mean.seeds for column in found for mean in column if mean}
    most = max(counts, default=0)
    rows = [
        [row.label, *(_grid_cell(column[number], most) for column in found)] for number, row in enumerate(table.rows)
    ]
    seeds = "one seed" if most == 1 else f"mean over {most} seeds"
    caption = f"Final accuracy, {seeds}{' unless another n is given' if len(counts) > 1 else ''}."
    bold = {(row, place + 1) for place, column in enumerate(columns) for row in told_apart_rows(column)}
    return ReportTable(caption, ["", *table.columns], rows, bold=bold)


def _column(table: ResultTable, place: int) -> list[Experiment | None]:
    """The experiment of each row; `None` where it has none with a known accuracy."""
    found = [row.experiments[place] if place < len(row.experiments) else None for row in table.rows]
    return [one if one and one.measured_runs else None for one in found]


def _grid_cell(mean: MeanOverRuns | None, most: int) -> str:
    if mean is None:
        return MISSING
    return format_mean(mean) + (f" (n={mean.seeds})" if mean.seeds < most else "")


def differences_from_best(column: Sequence[Experiment | None]) -> tuple[int | None, Differences]:
    """The row with the highest mean, and the paired difference of each other row from it."""
    known = {row: one.measured_runs for row, one in enumerate(column) if one and one.measured_runs}
    best = best_row({row: mean_accuracy(runs) for row, runs in known.items()})
    if best is None:
        return None, {}
    return best, {row: mean_difference(runs, known[best]) for row, runs in known.items() if row != best}


def told_apart_rows(column: Sequence[Experiment | None]) -> set[int]:
    """The row with the highest mean, if its paired difference from each other one lies above 0; else nothing."""
    best, others = differences_from_best(column)
    is_told = bool(others) and all(one is not None and one.is_told_from_zero for one in others.values())
    return {best} if is_told and best is not None else set()


def differences_table(table: ResultTable) -> ReportTable | None:
    """The paired differences from the highest row of each column; `None` where nothing is paired."""
    columns = [_column(table, place) for place in range(len(table.columns) or 1)]
    found = [differences_from_best(column) for column in columns]
    if not any(others for _, others in found):
        return None
    rows = [[row.label, *(_difference_cell(number, *one) for one in found)] for number, row in enumerate(table.rows)]
    if table.columns:
        caption = (
            "Paired difference in final accuracy from the highest of the column, over the seeds that both have, with "
            "its 95% interval."
        )
        return ReportTable(caption, ["", *table.columns], rows)
    best, others = found[0]
    label = "" if best is None else table.rows[best].label
    caption = (
        f"Paired difference in final accuracy from {label}, the highest, over the seeds that both have, with its 95% "
        f"interval. {_who_is_told_apart(table, label, others)}"
    )
    pairs = [str(one.seeds) if (one := others.get(number)) else MISSING for number in range(len(rows))]
    rows = [[label, pairs[number], *cells] for number, (label, *cells) in enumerate(rows)]
    return ReportTable(caption, ["", "seeds", "difference"], rows)


def _difference_cell(row: int, best: int | None, others: Differences) -> str:
    if row == best:
        return BEST
    found = others.get(row)
    return format_mean(found, sign="+") if found else MISSING


def _who_is_told_apart(table: ResultTable, best: str, others: Mapping[int, MeanOverRuns | None]) -> str:
    pairs = [one.seeds for one in others.values() if one]
    if not pairs:
        return "No other row shares its seeds and its problems, so that nothing is paired."
    if max(pairs) < FEWEST_SEEDS:
        return "Each pair has one seed, which tells no method from another."
    open_rows = [table.rows[row].label for row, one in others.items() if not (one and one.is_told_from_zero)]
    if not open_rows:
        return f"{best} is told apart from all others."
    return f"Not told apart from {best}: {join_words(open_rows)}."


def seeds_that_ended_alike(table: ResultTable) -> str:
    """A sentence on experiments whose seeds all have the same final accuracy; empty if there are none."""
    found = {
        label: mean
        for label, one in labelled(table).items()
        if one.measured_runs and (mean := mean_accuracy(one.measured_runs)).is_alike
    }
    alike = [f"{label} (all {mean.seeds} at {mean.mean:.3f})" for label, mean in found.items()]
    return f"All seeds ended alike, so that they show no spread: {join_words(alike)}." if alike else ""


def missing_seeds(table: ResultTable) -> str:
    """A sentence that names the experiments with fewer runs than others; empty if there are none."""
    counts = {label: len([run for run in one.runs if run.curve]) for label, one in labelled(table).items()}
    most = max(counts.values(), default=0)
    short = [f"{label} ({count or 'none'})" for label, count in counts.items() if count < most]
    return f"Not all have {most} {'seed' if most == 1 else 'seeds'}: {join_words(short)}." if short else ""


def unknown_accuracies(table: ResultTable) -> str:
    """A sentence on runs of which no held-out problem could be scored; empty if there are none."""
    counts = {
        label: len([run for run in one.runs if run.curve]) - len(one.measured_runs)
        for label, one in labelled(table).items()
    }
    unknown = [f"{label} ({count} {'run' if count == 1 else 'runs'})" for label, count in counts.items() if count]
    if not unknown:
        return ""
    return f"Accuracy is unknown, as no held-out problem could be scored at the end: {join_words(unknown)}."


def cut_off_answers(found: Mapping[str, float | None]) -> str:
    """A warning of experiments with many answers that the budget has cut off; empty if there are none."""
    cut = [f"{label} ({share:.0%})" for label, share in found.items() if share is not None and share > MUCH_CUT_OFF]
    if not cut:
        return ""
    return (
        "Many answers were cut off by the budget (`measure_max_new_tokens`) at the end, and a larger one may change "
        f"the order: {join_words(cut)}."
    )


def labelled(table: ResultTable) -> dict[str, Experiment]:
    """The experiments by the labels of their row and column."""
    return {
        ", ".join([row.label, *table.columns[place : place + 1]]): one
        for row in table.rows
        for place, one in enumerate(row.experiments)
    }


def base_accuracy(table: ResultTable) -> str:
    """A sentence on the base model's accuracy; empty if it is unknown."""
    starts = [known_accuracy(run.curve[0]) for one in table.experiments for run in one.measured_runs]
    base = [accuracy for accuracy in starts if math.isfinite(accuracy)]
    if not base:
        return ""
    low, high = min(base), max(base)
    spread = "" if low == high else f" ({low:.3f} to {high:.3f})"
    return f"Accuracy before training: {sum(base) / len(base):.3f}{spread}."
