"""Build the report of a comparison: what was found, what it cost, and what was set."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.files import write_atomically

from . import curves
from .rendering import (
    MISSING,
    Block,
    ComparisonReport,
    ReportFigure,
    ReportTable,
    format_accuracy,
    format_count,
    format_seconds,
    format_tokens,
    join_words,
    print_table,
    to_html,
    to_markdown,
)
from .results import Comparison, Experiment, ResultRow, ResultTable
from .results_io import to_json
from .settings_table import settings_table
from .statistics import Budget, Cost, Final, Summary, best_in_columns, budget, final_accuracy, summarize


FIGURES = "figures"
TOKENS = ("tokens generated", "tokens trained")
SETTINGS = "All settings of each run are in `results.json`, and at the end of `report.html`."
INTERVAL = (
    "A figure after ± is the half width of the 95% interval of the mean over seeds (Student's t). It says how far "
    "other seeds would move the mean, not how far other problems would. A single seed has none, and neither have "
    "seeds that do not differ: in its place stands the 95% interval over problems (Wilson), as in "
    "`0.500 (0.404 to 0.596)`."
)
BEST = (
    "Best is the mean over seeds of each run's highest accuracy on the way. It is the highest of many measurements, "
    "so it lies above the final one by chance alone; far above it, a run has peaked and fallen."
)


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write `report.md` with its figures in `figures/`, `report.html` and `results.json` into the folder.

    Figures of an earlier report in the folder are removed.
    """
    report = build_report(comparison)
    for old in (folder / FIGURES).glob("*.svg"):
        old.unlink()
    figures = {figure.path: figure.svg for figure in report.figures}
    markdown = to_markdown(report)
    page = to_html(report, markdown)
    files = {**figures, "report.md": markdown, "report.html": page, "results.json": to_json(comparison)}
    for name, text in files.items():
        write_atomically(folder / name, text)


def print_summary(comparison: Comparison) -> None:
    """Print the first table: accuracies, and what it cost to reach the threshold."""
    table, threshold = comparison.tables[0], comparison.threshold
    if table.columns:
        print_table(_accuracy_grid(table))
        return
    header = ["", "seeds", "final accuracy", "best", f"reaches {threshold:g}", "at step", *TOKENS, "time"]
    rows = []
    for label, _, summary in _summaries(table, threshold):
        seeds, final, best = _outcome(summary)
        rows.append([label, seeds, final, best.split(" ±")[0], *_costs_to_threshold(summary)])
    shown = [column for column in range(len(header)) if any(row[column] != MISSING for row in rows)]
    caption = (
        f"reaches {threshold:g} (--threshold): how many seeds do, and their mean cost until then. "
        f"±: 95% interval over seeds; in brackets: over problems. {_different_steps(table)} {_unscored(table)}"
    ).rstrip()
    header, *rows = [[row[column] for column in shown] for row in (header, *rows)]
    print_table(ReportTable(caption, header, rows))


def build_report(comparison: Comparison) -> ComparisonReport:
    together = [table for table in comparison.tables if _is_drawn_together(table)]
    styles = curves.styles([[experiment.name for experiment in table.experiments] for table in together])
    sections = []
    for number, table in enumerate(comparison.tables, 1):
        notes = (table.note, _base_accuracy(table), _missing_seeds(table), _unscored(table))
        blocks: list[Block] = [text for text in notes if text]
        if table.columns:
            blocks.append(_accuracy_grid(table))
        else:
            blocks += _full_results(table, comparison.threshold, styles, f"table{number}")
        if settings := settings_table(table):
            blocks.append(settings)
        sections.append((table.title, blocks))
    measured = f"Accuracy: {comparison.measured} {_problems_and_models(comparison)}".rstrip()
    introduction = [measured, f"{INTERVAL} {BEST}", SETTINGS]
    return ComparisonReport(comparison.title, comparison.command, introduction, sections, _all_settings(comparison))


def _problems_and_models(comparison: Comparison) -> str:
    """How many held-out problems the runs have scored, and the models that they start from."""
    experiments = [experiment for table in comparison.tables for experiment in table.experiments]
    lines = [line for experiment in experiments for run in experiment.runs for line in run.curve]
    problems = max((line.get("problems", 0) for line in lines), default=0)
    models = {
        value: None
        for experiment in experiments
        for name, value in experiment.settings.items()
        if name.rpartition(".")[2] == "model_name_or_path"
    }
    return " ".join(
        [
            *([f"Held-out problems: {problems:,}."] if problems else []),
            *([f"Model: {join_words([f'`{model}`' for model in models])}."] if models else []),
        ]
    )


def _all_settings(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """The settings of each experiment by where it stands first."""
    found: dict[str, tuple[str, Experiment]] = {}
    for table in comparison.tables:
        for row in table.rows:
            for i, experiment in enumerate(row.experiments):
                label = ", ".join([f"{table.title}: {row.label}", *table.columns[i : i + 1]])
                found.setdefault(experiment.name, (label, experiment))
    return {label: experiment.settings for label, experiment in found.values()}


def _full_results(table: ResultTable, threshold: float, styles: dict[str, curves.Style], prefix: str) -> list[Block]:
    summaries = _summaries(table, threshold)
    complete = ReportTable(
        "Complete runs, mean over seeds.",
        ["", "seeds", "final accuracy", "best on the way", "steps", *TOKENS, "time"],
        [
            [label, *_outcome(summary), *_cost_cells(summary.total if summary else None)]
            for label, _, summary in summaries
        ],
    )
    until_threshold = ReportTable(
        f"Until the first measurement with an accuracy of {threshold:g} or more, mean over the seeds that reach it: "
        "where not all do, the cost is that of the lucky ones.",
        ["", "seeds that reach it", "steps", *TOKENS, "time"],
        [[label, *_costs_to_threshold(summary)] for label, _, summary in summaries],
    )
    budgets = ReportTable(
        "For one run. Prompts, rollouts and demonstrations by its settings, on one process, each as often as it is "
        "drawn; a rollout that continues a prefix is a sampled one. Tokens as counted in training, mean over seeds: "
        "those that the policy wrote, and those in the loss, also where the advantage is 0.",
        ["", "prompts", "sampled rollouts", "complete demonstrations", *TOKENS],
        [[label, *_budget_cells(experiment, summary)] for label, experiment, summary in summaries],
        title=f"Budgets: {table.title}",
    )
    figures = _figures(table, threshold, styles, prefix)
    notes = [note for note in (_different_steps(table), _cut_off(table)) if note]
    return [complete, until_threshold, *([figures] if figures else []), *notes, _equal_budgets(table), budgets]


def _different_steps(table: ResultTable) -> str:
    """A sentence on the steps of each row; empty if all have as many."""
    steps = {row.label: runs[0].curve[-1]["step"] for row in table.rows if (runs := row.experiments[0].measured_runs)}
    if len(set(steps.values())) < 2:
        return ""
    return f"Steps, those of all stages together: {join_words([f'{label} {n:,}' for label, n in steps.items()])}."


def _cut_off(table: ResultTable) -> str:
    """A sentence on rows whose answers were all cut off at the end; empty if there are none."""
    cut = [
        row.label
        for row in table.rows
        if (limit := row.experiments[0].settings.get("measure_max_new_tokens"))
        and any(run.curve[-1].get("length", 0) >= limit for run in row.experiments[0].measured_runs)
    ]
    return f"All answers were cut off by `measure_max_new_tokens` at the end of {join_words(cut)}." if cut else ""


def _summaries(table: ResultTable, threshold: float) -> list[tuple[str, Experiment, Summary | None]]:
    """Label, experiment and its summary for each row of a table without columns."""
    return [(row.label, row.experiments[0], summarize(row.experiments[0], threshold)) for row in table.rows]


def _outcome(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["0", MISSING, MISSING]
    return [
        str(summary.final.seeds),
        format_accuracy(summary.final, summary.final_over_problems),
        format_accuracy(summary.best),
    ]


def _costs_to_threshold(summary: Summary | None) -> list[str]:
    if summary is None:
        return [MISSING] * 5
    found = summary.to_threshold
    return [f"{found.reached} of {found.runs}", *_cost_cells(found.mean)]


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [MISSING] * 4
    tokens = (format_tokens(cost.generated_tokens), format_tokens(cost.trained_tokens))
    return [format_count(cost.step), *tokens, format_seconds(cost.seconds)]


def _budget_cells(experiment: Experiment, spent: Summary | None) -> list[str]:
    given = budget(experiment.settings)
    drawn = (given.prompts, given.sampled, given.demonstrations) if given else (None, None, None)
    tokens = (spent.total.generated_tokens, spent.total.trained_tokens) if spent else (None, None)
    return [format_count(count) for count in (*drawn, *tokens)]


def _accuracy_grid(table: ResultTable) -> ReportTable:
    finals = [_final_accuracies(row, len(table.columns)) for row in table.rows]
    found = [[cell and cell[0] for cell in row] for row in finals]
    counts = {cell.seeds for row in found for cell in row if cell}
    most = max(counts, default=0)
    rows = [
        [row.label, *(_grid_cell(cell, most) for cell in cells)] for row, cells in zip(table.rows, finals, strict=True)
    ]
    seeds = "one seed" if most == 1 else f"mean over {most} seeds"
    caption = f"Final accuracy, {seeds}{' unless another n is given' if len(counts) > 1 else ''}."
    bold = {(row, column + 1) for row, column in best_in_columns(found)}
    if bold:
        caption += " Bold: the highest of its column, and those whose interval overlaps its interval."
    return ReportTable(caption, ["", *table.columns], rows, bold=bold)


def _final_accuracies(row: ResultRow, columns: int) -> list[Final | None]:
    """One for each column; `None` where the row has no experiment or the experiment no runs."""
    runs = [experiment.measured_runs for experiment in row.experiments[:columns]]
    finals = [final_accuracy(seeds) if seeds else None for seeds in runs]
    return finals + [None] * (columns - len(finals))


def _grid_cell(cell: Final | None, most: int) -> str:
    if cell is None:
        return MISSING
    return format_accuracy(*cell) + (f" (n={cell[0].seeds})" if cell[0].seeds < most else "")


def _base_accuracy(table: ResultTable) -> str:
    """A sentence on the base model's accuracy; empty without runs."""
    base = [run.curve[0]["accuracy"] for experiment in table.experiments for run in experiment.measured_runs]
    if not base:
        return ""
    low, high = min(base), max(base)
    spread = "" if low == high else f" ({low:.3f} to {high:.3f})"
    return f"Accuracy before training: {sum(base) / len(base):.3f}{spread}."


def _missing_seeds(table: ResultTable) -> str:
    """A sentence that names the experiments with fewer runs than most; empty if there are none."""
    counts = {
        " ".join([row.label, *table.columns[i : i + 1]]): len(experiment.measured_runs)
        for row in table.rows
        for i, experiment in enumerate(row.experiments)
    }
    if not counts:
        return ""
    usual = Counter(counts.values()).most_common(1)[0][0]
    short = [f"{label} ({count or 'none'})" for label, count in counts.items() if count < usual]
    return f"Most have {usual} seeds. Fewer: {join_words(short)}." if short else ""


def _unscored(table: ResultTable) -> str:
    """A sentence on experiments with a run whose reward scored none of the held-out problems; empty without any."""
    labels = [
        " ".join([row.label, *table.columns[i : i + 1]])
        for row in table.rows
        for i, experiment in enumerate(row.experiments)
        if len(experiment.measured_runs) < len(experiment.runs)
    ]
    return f"Unknown accuracy, since the reward scored no held-out problem: {join_words(labels)}." if labels else ""


def _equal_budgets(table: ResultTable) -> str:
    """Group the methods by their budget of prompts, rollouts and demonstrations."""
    groups: dict[Budget | None, list[str]] = {}
    for row in table.rows:
        groups.setdefault(budget(row.experiments[0].settings), []).append(row.label)
    unknown = groups.pop(None, [])
    sentences = [f"{_describe_budget(given)}: {join_words(labels)}." for given, labels in groups.items() if given]
    if unknown:
        sentences.append(f"Unknown from their settings: {join_words(unknown)}.")
    return " ".join(["Budgets.", *sentences])


def _describe_budget(given: Budget) -> str:
    sampled = f"{given.sampled:,} sampled rollouts for {given.prompts:,} prompts" if given.sampled else "None sampled"
    return f"{sampled}, {given.demonstrations:,} complete demonstrations" if given.demonstrations else sampled


def _is_drawn_together(table: ResultTable) -> bool:
    return not table.columns and len(table.rows) <= curves.MAX_TOGETHER


def _figures(table: ResultTable, threshold: float, styles: dict[str, curves.Style], prefix: str) -> list[ReportFigure]:
    methods = [
        curves.Method(row.label, styles.get(row.experiments[0].name, curves.OTHER), row.experiments[0].runs)
        for row in table.rows
    ]
    together = _is_drawn_together(table)
    return [
        ReportFigure(f"{FIGURES}/{prefix}-{view.name}.svg", svg, _describe_figure(methods, view))
        for view in (curves.VIEWS if together else [curves.ACCURACY])
        if (svg := curves.draw(methods, view, threshold, apart=not together))
    ]


def _describe_figure(methods: Sequence[curves.Method], view: curves.View) -> str:
    """The figure in words: where each curve ends."""
    ends = [(method.label, line[-1][1].mean) for method in methods if (line := curves.points(method, view))]
    return f"{view.title}. At the end: " + ", ".join(f"{label} {end:.3g}" for label, end in ends) + "."
