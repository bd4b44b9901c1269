"""Build the report of a comparison: what was found, what it cost, what was set, and with what it was made."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.files import atomic_file
from prefix_rft_trl.utils.tables import print_sentence

from . import accuracy_tables, cost_tables, curves, finals_figure, regime_tables
from .drawing import Drawing
from .provenance import differing_environments, provenance_table
from .regime_results import shared_settings
from .regime_section import map_sections
from .rendering import (
    Block,
    ComparisonReport,
    ReportFigure,
    join_words,
    print_table,
    to_html,
    to_markdown,
)
from .results import Comparison, Experiment, ResultRow, ResultTable
from .results_io import to_json
from .settings_table import settings_table
from .statistics import summarize, truncated_share
from .uncertainty import mean_accuracy


FIGURES = "figures"
SETTINGS = "All settings of each run are in `results.json`, and at the end of `report.html`."
SETTINGS_OF_MAP = (
    "All settings of each run are in `results.json`; those that a method has in all cells are at the end of "
    "`report.html`."
)
PROVENANCE = "Made with"  # title of the last section
Styles = dict[str, curves.Style]  # by the label of a row


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write `report.md` with its figures in `figures/`, `report.html` and `results.json` into the folder.

    Figures of an earlier report in the folder are removed.
    """
    report = build_report(comparison)
    for old in [*(folder / FIGURES).glob("*.svg"), *(folder / FIGURES).glob("*.png")]:
        old.unlink()
    markdown = to_markdown(report)
    page = to_html(report, markdown)
    files: dict[str, str | bytes] = {figure.path: figure.svg for figure in report.figures}
    files |= {figure.png_path: figure.png for figure in report.figures}
    files |= {"report.md": markdown, "report.html": page, "results.json": to_json(comparison)}
    for name, content in files.items():
        with atomic_file(folder / name) as partial:
            partial.write_bytes(content if isinstance(content, bytes) else content.encode())


def print_summary(comparison: Comparison) -> None:
    """Print the winners of the map, or the first table, and what a reader must know of it."""
    if comparison.map:
        for shown in regime_tables.summary(comparison.map):
            print_table(shown)
        print_sentence(differing_environments(comparison), sys.stdout)
    else:
        _print_table_with_notes(comparison, comparison.tables[0])


def _print_table_with_notes(comparison: Comparison, table: ResultTable) -> None:
    found = (
        accuracy_tables.accuracy_grid(table)
        if table.columns
        else accuracy_tables.headline(table, comparison.threshold)
    )
    for shown in (found, accuracy_tables.differences_table(table)):
        if shown:
            print_table(shown)
    legend = accuracy_tables.short_legend(table, bool(found.bold))
    for note in filter(None, [legend, *_notes(table), differing_environments(comparison)]):
        print_sentence(note, sys.stdout)


def build_report(comparison: Comparison) -> ComparisonReport:
    regimes = comparison.map
    methods = [regimes.methods] if regimes else []
    styles = curves.styles([*methods, *([row.label for row in table.rows] for table in comparison.tables)])
    sections = map_sections(regimes, comparison.note, styles, FIGURES) if regimes else []
    sections += [
        (table.title, _section(comparison, table, styles, f"table{number}"))
        for number, table in enumerate(comparison.tables, 1)
    ]
    sections.append((PROVENANCE, [provenance_table(comparison)]))
    measured = f"Accuracy: {comparison.measured} {_problems_and_models(comparison)}".rstrip()
    missing = regimes and regime_tables.missing_runs(regimes)
    introduction = [measured, missing, *_explanations(comparison), differing_environments(comparison)]
    introduction.append(SETTINGS_OF_MAP if regimes else SETTINGS)
    shown = [text for text in introduction if text]
    colours = {label: style.colour for label, style in styles.items()}
    return ComparisonReport(comparison.title, comparison.command, shown, sections, _all_settings(comparison), colours)


def _explanations(comparison: Comparison) -> list[str]:
    """What intervals and bold figures of this report mean."""
    runs = [one.measured_runs for one in comparison.experiments if one.measured_runs]
    over = {mean_accuracy(seeds).over for seeds in runs}
    meanings = [meaning for found, meaning in accuracy_tables.MEANING.items() if found in over]
    return [" ".join([accuracy_tables.INTERVAL, *meanings]) if meanings else "", accuracy_tables.BOLD]


def _section(comparison: Comparison, table: ResultTable, styles: Styles, prefix: str) -> list[Block]:
    notes = [table.note, accuracy_tables.base_accuracy(table), *_notes(table)]
    blocks: list[Block] = [text for text in notes if text]
    blocks.append(
        accuracy_tables.accuracy_grid(table)
        if table.columns
        else accuracy_tables.headline(table, comparison.threshold)
    )
    blocks += [one for one in [accuracy_tables.differences_table(table)] if one]
    blocks += _figures(table, comparison.threshold, styles, prefix)
    if not table.columns:
        blocks += _costs(table, comparison.threshold)
    return blocks + [one for one in [settings_table(table)] if one]


def _notes(table: ResultTable) -> list[str]:
    """Sentences on what is missing from a table, or not as it seems; some are empty."""
    truncated = {label: truncated_share(one) for label, one in accuracy_tables.labelled(table).items()}
    return [
        accuracy_tables.missing_seeds(table),
        accuracy_tables.unknown_accuracies(table),
        accuracy_tables.seeds_that_ended_alike(table),
        accuracy_tables.cut_off_answers(truncated),
        "" if table.columns else cost_tables.different_steps(table),
    ]


def _costs(table: ResultTable, threshold: float) -> list[Block]:
    summaries = [(row.label, row.experiments[0], summarize(row.experiments[0], threshold)) for row in table.rows]
    return [
        cost_tables.complete_runs(summaries),
        cost_tables.until_threshold(summaries, threshold),
        cost_tables.equal_budgets(table),
        cost_tables.budgets(table, summaries),
    ]


def _problems_and_models(comparison: Comparison) -> str:
    """How many held-out problems the runs were measured on, and the models that they start from."""
    experiments = comparison.experiments
    asked = {run.asked for experiment in experiments for run in experiment.measured_runs} - {0}
    models = {
        value: None
        for experiment in experiments
        for name, value in experiment.settings.items()
        if name.rpartition(".")[2] == "model_name_or_path"
    }
    problems = f"Held-out problems: {min(asked):,}." if asked else ""
    if len(asked) > 1:
        problems = (
            f"Held-out problems: {min(asked):,} to {max(asked):,}, not as many for all runs. Accuracies on other "
            "problems do not compare, and are not paired."
        )
    model = f"Model: {join_words([f'`{model}`' for model in models])}." if models else ""
    return " ".join(filter(None, [problems, model]))


def _all_settings(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The settings of each experiment by where it stands first."""
    found: dict[str, tuple[str, Experiment]] = {}
    for table in comparison.tables:
        for row in table.rows:
            for i, experiment in enumerate(row.experiments):
                label = ", ".join([f"{table.title}: {row.label}", *table.columns[i : i + 1]])
                found.setdefault(experiment.name, (label, experiment))
    of_map = shared_settings(comparison.map) if comparison.map else {}
    in_all_cells = {f"{label}, in all cells of the map": settings for label, settings in of_map.items()}
    return in_all_cells | {label: experiment.settings for label, experiment in found.values()}


def _figures(table: ResultTable, threshold: float, styles: Styles, prefix: str) -> list[Block]:
    """The figures of a table, and after them what dots, bars and bands mean."""
    finals = finals_figure.draw_finals([_finals(row, styles[row.label]) for row in table.rows], table.columns)
    found = [_figure(prefix, "final", finals, f"Final accuracy. {_final_means(table)}")]
    if not table.columns:
        found += _curves(table, threshold, styles, prefix)
    shown = [figure for figure in found if figure]
    captions = [finals_figure.CAPTION, *([curves.CAPTION] if len(shown) > 1 else [])]
    if not table.columns and (left_out := curves.not_drawn(_methods(table, styles))):
        captions.append(left_out)
    return [shown, " ".join(captions)] if shown else []


def _finals(row: ResultRow, style: curves.Style) -> finals_figure.FinalAccuracies:
    of_columns = [one.measured_runs for one in row.experiments]
    cells = [([run.accuracy for run in runs], mean_accuracy(runs)) if runs else None for runs in of_columns]
    return finals_figure.FinalAccuracies(row.label, style, cells)


def _methods(table: ResultTable, styles: Styles) -> list[curves.Method]:
    return [curves.Method(row.label, styles[row.label], row.experiments[0].measured_runs) for row in table.rows]


def _curves(table: ResultTable, threshold: float, styles: Styles, prefix: str) -> list[ReportFigure | None]:
    methods = _methods(table, styles)
    together = len(methods) <= curves.MAX_TOGETHER
    return [
        _figure(
            prefix,
            view.name,
            curves.draw(methods, view, threshold, apart=not together),
            _describe_curves(methods, view),
        )
        for view in (curves.VIEWS if together else curves.VIEWS_APART)
    ]


def _figure(prefix: str, name: str, drawing: Drawing | None, description: str) -> ReportFigure | None:
    if drawing is None:
        return None
    return ReportFigure(f"{FIGURES}/{prefix}-{name}.svg", drawing.svg, drawing.png, description)


def _final_means(table: ResultTable) -> str:
    labels = accuracy_tables.labelled(table).items()
    means = [f"{label} {mean_accuracy(one.measured_runs).mean:.3f}" for label, one in labels if one.measured_runs]
    return ", ".join(means) + "."


def _describe_curves(methods: Sequence[curves.Method], view: curves.View) -> str:
    """The figure in words: where each curve ends."""
    ends = [(method.label, line[-1][1].mean) for method in methods if (line := curves.points(method, view))]
    return f"{view.title}. At the end: " + ", ".join(f"{label} {end:.3g}" for label, end in ends) + "."
