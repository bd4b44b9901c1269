"""Tables of final accuracies and of their paired differences, and sentences on what they tell."""

import math
from collections.abc import Iterable, Mapping, Sequence

from .rendering import MISSING, ReportTable, format_mean, join_words, markdown_width
from .results import Experiment, ResultTable, known_accuracy
from .statistics import summarize
from .uncertainty import MeanOverRuns, best_row, mean_accuracy, mean_difference


HEADLINE_WIDTH = 80  # columns of a terminal
MUCH_CUT_OFF = 0.1  # of the answers
BEST = "highest mean"  # in place of its difference from itself
IDENTICAL, NO_INTERVAL = "identical", "(no interval)"
Differences = dict[int, MeanOverRuns | None]  # of each row from the highest

INTERVAL = (
    "In brackets: the 95% interval. That of an accuracy stays between 0 and 1: it is Wilson's, with as many draws as "
    "would give its half width by Student's t. That of a difference is Student's t, cut at -1 and 1."
)
MEANING = {  # of an interval, by what it is over
    ("seeds", "problems"): (
        "It is over seeds and problems (half widths added as squares): it says how far other seeds and other problems "
        "of this kind would move the figure. The variance over seeds is at least what the sampling of the answers "
        "alone gives, also where seeds tie."
    ),
    ("seeds",): (
        "Runs that have not recorded the reward of each problem (those of earlier releases) have it over seeds alone: "
        "it says nothing of other problems."
    ),
    ("problems",): (
        "A single seed, identical ones, or seeds that ended alike without a record of each problem, have it over "
        "problems alone: it says nothing of other seeds."
    ),
}
BOLD = (
    "Bold: the highest mean, if each other row that was measured (in a grid: of its column) is shown to be below it. "
    "That is: the interval of the paired difference (other - highest) lies below 0, over at least two seeds that both "
    "have and that are not identical. Else none is bold. Each interval stands by itself: one in 20 misses, and tables "
    "have many."
)
SHORT_BOLD = "Bold: each other one is shown to be below it: the interval of its difference lies below 0."
ONE_SEED = "One seed tells no method from another: its interval is over problems alone."
REASONS = {  # for a difference without an interval
    IDENTICAL: (
        "Identical: both have the same reward on every problem with every seed that they share, so that these runs "
        "tell nothing of their difference."
    ),
    NO_INTERVAL: (
        "No interval: there is a single value of the difference, or all values are the same, so that nothing tells "
        "how far others would lie."
    ),
}


def short_legend(table: ResultTable, bold: bool) -> str:
    """What intervals of a table are over, and bold means, in a line or two."""
    runs = [one.measured_runs for one in table.experiments if one.measured_runs]
    found = dict.fromkeys(" and ".join(mean_accuracy(seeds).over) for seeds in runs)
    over = [names if " " in names else f"{names} alone" for names in found if names]
    return " ".join([*([f"Intervals are over {' or '.join(over)}."] if over else []), *([SHORT_BOLD] if bold else [])])


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
    seeds, most = _seeds(mean for column in found for mean in column)
    rows = [
        [row.label, *(_grid_cell(column[number], most) for column in found)] for number, row in enumerate(table.rows)
    ]
    caption = f"Final accuracy, mean over {seeds}."
    bold = {(row, place + 1) for place, column in enumerate(columns) for row in told_apart_rows(column)}
    return ReportTable(caption, ["", *table.columns], rows, bold=bold)


def _column(table: ResultTable, place: int) -> list[Experiment | None]:
    """The experiment of each row; `None` where it has none with a known accuracy."""
    found = [row.experiments[place] if place < len(row.experiments) else None for row in table.rows]
    return [one if one and one.measured_runs else None for one in found]


def _seeds(means: Iterable[MeanOverRuns | None]) -> tuple[str, int]:
    """The number of seeds that a grid is over, in words too."""
    counts = {mean.seeds for mean in means if mean}
    most = max(counts, default=0)
    words = "one seed" if most == 1 else f"{most} seeds"
    return f"{words}{', unless another n is given' if len(counts) > 1 else ''}", most


def _grid_cell(mean: MeanOverRuns | None, most: int) -> str:
    return MISSING if mean is None else format_mean(mean) + _fewer_seeds(mean, most)


def _fewer_seeds(mean: MeanOverRuns, most: int) -> str:
    return f" (n={mean.seeds})" if mean.seeds < most else ""


def differences_from_best(column: Sequence[Experiment | None]) -> tuple[int | None, Differences]:
    """The row with the highest mean, and the paired difference of each other row from it."""
    known = {row: one.measured_runs for row, one in enumerate(column) if one and one.measured_runs}
    best = best_row({row: mean_accuracy(runs) for row, runs in known.items()})
    if best is None:
        return None, {}
    return best, {row: mean_difference(runs, known[best]) for row, runs in known.items() if row != best}


def told_apart_rows(column: Sequence[Experiment | None]) -> set[int]:
    """The row with the highest mean, if each other one is shown to be below it; else nothing."""
    best, others = differences_from_best(column)
    is_told = bool(others) and all(one is not None and one.is_below_zero for one in others.values())
    return {best} if is_told and best is not None else set()


def differences_table(table: ResultTable) -> ReportTable | None:
    """The paired differences from the highest row of each column; `None` where nothing is paired."""
    columns = [_column(table, place) for place in range(len(table.columns) or 1)]
    found = [differences_from_best(column) for column in columns]
    if not any(others for _, others in found):
        return None
    known = [one for _, others in found for one in others.values() if one]
    seeds, most = _seeds(known)
    rows = [
        [row.label, *(_difference_cell(number, *one, most if table.columns else 0) for one in found)]
        for number, row in enumerate(table.rows)
    ]
    shown = " ".join(cell for row in rows for cell in row[1:])
    reasons = [reason for cell, reason in REASONS.items() if cell in shown]
    if table.columns:
        caption = (
            "Paired difference in final accuracy from the highest mean of the column, with its 95% interval, over the "
            f"seeds that both have: {seeds}."
        )
        one_seed = [ONE_SEED] if any(one.seeds == 1 for one in known) else []
        return ReportTable(" ".join([caption, *one_seed, *reasons]), ["", *table.columns], rows)
    best, others = found[0]
    label = "" if best is None else table.rows[best].label
    caption = (
        f"Paired difference in final accuracy from {label}, the highest mean, over the seeds that both have, with its "
        "95% interval."
    )
    pairs = [str(one.seeds) if (one := others.get(number)) else MISSING for number in range(len(rows))]
    rows = [[label, pairs[number], *cells] for number, (label, *cells) in enumerate(rows)]
    sentences = [caption, *_who_is_told_apart(table, label, others), *reasons]
    return ReportTable(" ".join(sentences), ["", "seeds", "difference"], rows)


def _difference_cell(row: int, best: int | None, others: Differences, most: int) -> str:
    if row == best:
        return BEST
    found = others.get(row)
    if found is None:
        return MISSING
    if found.is_of_identical_runs:
        return IDENTICAL + _fewer_seeds(found, most)
    no_interval = "" if found.interval else f" {NO_INTERVAL}"
    return format_mean(found, sign="+") + no_interval + _fewer_seeds(found, most)


def _who_is_told_apart(table: ResultTable, best: str, others: Mapping[int, MeanOverRuns | None]) -> list[str]:
    """Sentences on which rows are shown to be below the highest, and which are not."""
    known = [one for one in others.values() if one]
    if not known:
        return ["No other row shares its seeds and its problems, so that nothing is paired."]
    if all(one.seeds == 1 for one in known):
        return [ONE_SEED]
    labels = {row: table.rows[row].label for row in others}
    above = [labels[row] for row, one in others.items() if one and one.is_above_zero]
    undecided = [labels[row] for row, one in others.items() if not (one and (one.is_below_zero or one.is_above_zero))]
    if not (above or undecided):
        is_all = len(others) + 1 == len(table.rows)
        return [f"{best} is shown to be above all others{'' if is_all else ' that were measured'}."]
    sentences = {
        f"Shown to be above {best} on the seeds that both have": above,
        f"Not told apart from {best}": undecided,
    }
    return [f"{sentence}: {join_words(found)}." for sentence, found in sentences.items() if found]


def seeds_that_ended_alike(table: ResultTable) -> str:
    """Sentences on experiments whose seeds all have the same final accuracy; empty if there are none."""
    found = {
        label: mean
        for label, one in labelled(table).items()
        if one.measured_runs and (mean := mean_accuracy(one.measured_runs)).is_alike
    }
    kinds = {
        "All seeds have the same reward on every problem, and tell nothing of other seeds": {
            label: mean for label, mean in found.items() if mean.is_recorded and "seeds" not in mean.over
        },
        "All seeds tie with other answers; their spread is taken to be that of sampling": {
            label: mean for label, mean in found.items() if "seeds" in mean.over
        },
        "All seeds ended alike, so that they show no spread": {
            label: mean for label, mean in found.items() if not mean.is_recorded
        },
    }
    return " ".join(
        f"{kind}: {join_words([f'{label} (all {mean.seeds} at {mean.mean:.3f})' for label, mean in alike.items()])}."
        for kind, alike in kinds.items()
        if alike
    )


def missing_seeds(table: ResultTable) -> str:
    """A sentence that names the experiments with fewer runs than planned or than others; empty if there are none."""
    counts = {label: len([run for run in one.runs if run.curve]) for label, one in labelled(table).items()}
    most = max([*counts.values(), *(one.planned_seeds for one in table.experiments)], default=0)
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
