"""Tables of a map of regimes: winners and accuracies of its planes, its claims, and the settings of its levels."""

from dataclasses import replace

from .accuracy_tables import accuracy_grid, cut_off_answers, labelled, unknown_accuracies
from .regime_map import Plane, RegimeMap, describe
from .rendering import MISSING, ReportTable, format_mean, format_setting, join_words
from .results import Experiment, ResultRow, ResultTable
from .statistics import truncated_share
from .winners import NoWinner, Winner, find_winner, judge, measured_of


Cells = dict[tuple[str, str], Winner | NoWinner]
WINNERS = (
    "The method with the highest mean final accuracy in each cell, over the seeds that all measured methods have, and "
    "its paired difference from the second, both with 95% intervals. Bold: each other method is shown to be below it. "
    "One seed tells no method from another, and where less than two thirds of the methods are measured none is named. "
    "Each difference is judged as if it were the only one: of several methods that are level, one can be shown to be "
    "below by chance, and the one that comes out highest has too large a margin."
)


def winners(plane: Plane, regimes: RegimeMap[Experiment]) -> Cells:
    """The winner at each row and column of a plane."""
    return {
        (row, column): find_winner(regimes.cell(plane.levels(row, column)))
        for row in plane.row_levels
        for column in plane.column_levels
    }


def winner_grid(plane: Plane, found: Cells) -> ReportTable:
    """The winners of a plane as its heat map, for a terminal."""
    rows = [[row, *(_short(found[row, column]) for column in plane.column_levels)] for row in plane.row_levels]
    caption = (
        f"{plane.rows.title} (down) and {plane.columns.title_in_sentence} (across): the "
        "method with the highest mean. In brackets: how many others are not shown to be below it. A star: methods are "
        "missing."
    )
    return ReportTable(caption, ["", *plane.column_levels], rows, numbers=False)


def _short(winner: Winner | NoWinner) -> str:
    if isinstance(winner, NoWinner):
        return winner.word if winner.measured else MISSING
    level = f" ({len(winner.level)})" if winner.level else ""
    star = "" if winner.is_complete else "*"
    return f"{winner.label} {winner.mean.mean:.2f}{star}{level}"


def winners_table(plane: Plane, found: Cells) -> ReportTable:
    """The winners of a plane with their margins and all that is level with them."""
    rows = [[row, column, *_winner_cells(winner)] for (row, column), winner in found.items()]
    header = [plane.rows.title, plane.columns.title, "highest mean", "accuracy", "margin", "over", "not told apart"]
    bold = {(n, 2) for n, one in enumerate(found.values()) if isinstance(one, Winner) and one.is_told_apart}
    return ReportTable(f"The winners: {plane.title_in_sentence}.", header, rows, bold=bold, numbers=False)


def _winner_cells(winner: Winner | NoWinner) -> list[str]:
    if isinstance(winner, NoWinner):
        return [*[MISSING] * 4, winner.word]
    margin = format_mean(winner.margin, sign="+") if winner.margin else MISSING
    notes = [] if winner.is_complete else [measured_of(winner)]
    if winner.left_out:
        common = winner.mean.seeds
        notes.append(f"over {common} of {common + winner.left_out} seeds")
    told = ". ".join(filter(None, [join_words(list(winner.level)), *notes])) or MISSING
    return [winner.label, format_mean(winner.mean), margin, winner.second or MISSING, told]


def accuracy_tables(plane: Plane, regimes: RegimeMap[Experiment]) -> list[str | ReportTable]:
    """For each row of a plane, the accuracies of all methods in its cells, and notes on them."""
    blocks: list[str | ReportTable] = []
    for row in plane.row_levels:
        table = _row_table(plane, row, regimes)
        grid = accuracy_grid(table)
        title = f"{plane.rows.title}: {row}"
        caption = f"{grid.caption} Columns: {plane.columns.title_in_sentence}."
        blocks.append(replace(grid, title=title, caption=caption))
        cut = {label: truncated_share(one) for label, one in labelled(table).items()}
        blocks += [note for note in (unknown_accuracies(table), cut_off_answers(cut)) if note]
    return blocks


def _row_table(plane: Plane, row: str, regimes: RegimeMap[Experiment]) -> ResultTable:
    cells = [regimes.cell(plane.levels(row, column)) for column in plane.column_levels]
    rows = [ResultRow(label, [cell[label] for cell in cells]) for label in regimes.methods]
    return ResultTable(plane.title, "", list(plane.column_levels), rows)


def claims_table(regimes: RegimeMap[Experiment]) -> ReportTable | None:
    """Each claim with its paired difference and whether it holds; `None` without claims."""
    found = [judge(claim, regimes) for claim in regimes.claims]
    if not found:
        return None
    rows = [
        [
            f"{one.claim.above} above {one.claim.below}",
            describe(regimes.differing(regimes.place(one.claim.where))),
            format_mean(one.difference, sign="+") if one.difference else MISSING,
            one.word,
        ]
        for one in found
    ]
    caption = (
        "Paired differences in final accuracy with their 95% intervals. A claim holds if the interval lies above 0, "
        "over at least two seeds; it does not hold if it lies below 0; else both are not told apart. Each interval "
        "stands by itself: of 20, one misses."
    )
    return ReportTable(caption, ["claim", "where", "difference", ""], rows, numbers=False)


def axes_table(regimes: RegimeMap[Experiment]) -> ReportTable:
    """The levels of each axis with their settings."""
    rows = [
        [axis.title, f"`{axis.name}={level}`", _settings(settings)]
        for axis in regimes.axes
        for level, settings in axis.levels.items()
    ]
    caption = (
        "The axes. The first level of each is that of the recipes; what a heat map does not vary stays there. A cell "
        "with all its curves: `prefix-rft compare FOLDER --cell AXIS=LEVEL,AXIS=LEVEL`."
    )
    return ReportTable(caption, ["axis", "level", "settings"], rows, numbers=False)


def _settings(level: dict[str, object]) -> str:
    return ", ".join(f"`{name}: {format_setting(value)}`" for name, value in level.items()) or "those of the recipes"


def missing_runs(regimes: RegimeMap[Experiment]) -> str:
    """A sentence on runs that are not there; empty if each experiment has all that are planned."""
    distinct = {one.name: one for one in regimes.outcomes}.values()
    there, planned = sum(len(one.measured_runs) for one in distinct), sum(one.planned_seeds for one in distinct)
    return f"{there:,} of {planned:,} planned runs of the map are there." if there < planned else ""


def summary(regimes: RegimeMap[Experiment]) -> list[ReportTable]:
    """What a terminal shows: the winners of each plane, and the claims."""
    grids = [winner_grid(plane, winners(plane, regimes)) for plane in regimes.planes]
    return [*grids, *filter(None, [claims_table(regimes)])]
