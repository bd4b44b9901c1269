"""The report of a comparison: what was found, what it cost, and what was set, as text, page and data."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prefix_rft_trl.utils.intervals import Estimate

from . import curves, markdown, numerals, page
from .document import Block, Cells, Command, Document, Figure, Figures, Folded, Heading, Paragraph
from .results import Comparison, Experiment, Row, Table
from .results_io import as_json
from .settings_table import settings_block
from .statistics import (
    Budget,
    Cost,
    Summary,
    base_accuracies,
    best_of_columns,
    budget,
    experiments_of,
    finished,
    summarize,
)


FIGURES = "figures"
INTERVAL = (
    "A figure after ± is the half width of the 95% interval of the mean over seeds (Student's t); a single seed has "
    "none. The interval tells how far other seeds would move the mean, not how far other problems would."
)
BEST = (
    "Best is the mean over seeds of each run's highest accuracy on the way. It is the highest of many measurements, "
    "so it lies above the final one by chance alone; far above it, a run has peaked and fallen."
)


def write_report(comparison: Comparison, folder: Path) -> None:
    """Writes `report.md` with its figures in `figures/`, `report.html` and `results.json` into the folder.

    Figures of an earlier report in the folder are removed.
    """
    figure_folder = folder / FIGURES
    figure_folder.mkdir(parents=True, exist_ok=True)
    document = build(comparison)
    for old in figure_folder.glob("*.svg"):
        old.unlink()
    for figure in figures_in(document.blocks):
        (figure_folder / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
    (folder / "report.md").write_text(markdown.render(document, FIGURES), encoding="utf-8")
    (folder / "report.html").write_text(page.render(document), encoding="utf-8")
    (folder / "results.json").write_text(as_json(comparison), encoding="utf-8")


def terminal_table(comparison: Comparison) -> str:
    """The first table as plain text: accuracies, and what it cost to reach the threshold."""
    table, threshold = comparison.tables[0], comparison.threshold
    if table.columns:
        return markdown.plain(accuracy_grid(table, threshold))
    header = [
        "",
        "seeds",
        "final accuracy",
        "best",
        f"reach {threshold:g}",
        "at step",
        "generated",
        "trained",
        "after",
    ]
    lines = []
    for label, summary in summaries(table, threshold):
        seeds, final, best = outcome(summary)
        lines.append([label, seeds, final, best.split(" ±")[0], *costs_to_threshold(summary)])
    told = (
        f"generated, trained: tokens until {threshold:g} is reached, mean of the seeds that reach it; ±: 95% interval"
    )
    return f"{markdown.plain(Cells('', header, lines))}\n{told}"


def build(comparison: Comparison) -> Document:
    blocks: list[Block] = [
        Command(comparison.command),
        Paragraph(f"Accuracy: {comparison.measured}"),
        Paragraph(f"{INTERVAL} {BEST}"),
    ]
    looks = curves.styles([names_in(table) for table in comparison.tables if drawn_together(table)])
    for number, table in enumerate(comparison.tables, start=1):
        blocks += [Heading(table.title, f"table{number}"), *([Paragraph(table.note)] if table.note else [])]
        blocks += [Paragraph(said) for said in (before_training(table), fewer_seeds(table)) if said]
        if table.columns:
            blocks.append(accuracy_grid(table, comparison.threshold))
        else:
            blocks += in_full(table, comparison.threshold, looks, f"table{number}")
        blocks += settings_block(table)
    return Document(comparison.title, blocks)


def in_full(table: Table, threshold: float, looks: dict[str, curves.Style], name: str) -> list[Block]:
    figures = draw(table, threshold, looks, name)
    return [
        whole_runs(table, threshold),
        until_threshold(table, threshold),
        *([Figures(figures)] if figures else []),
        Paragraph(statement_of_budgets(table)),
        Folded(f"Budgets: {table.title}", [budgets(table, threshold)]),
    ]


def summaries(table: Table, threshold: float) -> list[tuple[str, Summary | None]]:
    """A line for each row of a table without columns."""
    return [(row.label, summarize(experiment, threshold)) for row in table.rows for experiment in only_experiment(row)]


def only_experiment(row: Row) -> Sequence[Experiment]:
    return row.experiments[:1] or [Experiment(row.label, "", {}, [])]


def outcome(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["0", numerals.NOTHING, numerals.NOTHING]
    return [str(summary.final.seeds), numerals.accuracy(summary.final), numerals.accuracy(summary.best)]


def costs_to_threshold(summary: Summary | None) -> list[str]:
    if summary is None:
        return [numerals.NOTHING] * 5
    reached = summary.to_threshold
    return [f"{reached.reached} of {reached.runs}", *cost_cells(reached.mean)]


def cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [numerals.NOTHING] * 4
    return [
        numerals.whole(cost.step),
        numerals.tokens(cost.generated_tokens),
        numerals.tokens(cost.trained_tokens),
        numerals.seconds(cost.seconds),
    ]


def whole_runs(table: Table, threshold: float) -> Cells:
    header = ["", "seeds", "final accuracy", "best on the way", "steps", "tokens generated", "tokens trained", "time"]
    rows = [[label, *outcome(s), *cost_cells(s.total if s else None)] for label, s in summaries(table, threshold)]
    return Cells("The whole run, mean over seeds.", header, rows)


def until_threshold(table: Table, threshold: float) -> Cells:
    header = ["", "seeds that reach it", "steps", "tokens generated", "tokens trained", "time"]
    rows = [[label, *costs_to_threshold(summary)] for label, summary in summaries(table, threshold)]
    caption = (
        f"Until the first measurement with an accuracy of {threshold:g} or more, mean over the seeds that reach it: "
        "where not all do, the cost is that of the lucky ones."
    )
    return Cells(caption, header, rows)


def accuracy_grid(table: Table, threshold: float) -> Cells:
    found = [final_accuracies(row, len(table.columns), threshold) for row in table.rows]
    most = max((cell.seeds for row in found for cell in row if cell), default=0)
    rows = [
        [row.label, *(grid_cell(cell, most) for cell in line)] for row, line in zip(table.rows, found, strict=True)
    ]
    strong = {(row, column + 1) for row, column in best_of_columns(found)}
    seeds = "one seed" if most == 1 else f"mean over {most} seeds"
    caption = f"Final accuracy, {seeds}{' unless another n is given' if uneven(found) else ''}."
    if strong:
        caption += " Bold: the highest of its column, and those whose interval overlaps its interval."
    return Cells(caption, ["", *table.columns], rows, strong)


def final_accuracies(row: Row, columns: int, threshold: float) -> list[Estimate | None]:
    """One for each column, also where the row has no experiment or the experiment no runs."""
    found = [summarize(experiment, threshold) for experiment in row.experiments[:columns]]
    finals = [summary.final if summary else None for summary in found]
    return finals + [None] * (columns - len(finals))


def uneven(found: Sequence[Sequence[Estimate | None]]) -> bool:
    return len({cell.seeds for row in found for cell in row if cell}) > 1


def grid_cell(cell: Estimate | None, most: int) -> str:
    text = numerals.accuracy(cell)
    return f"{text} (n={cell.seeds})" if cell and cell.seeds < most else text


def before_training(table: Table) -> str:
    """A sentence with the base model's accuracy; empty if there are no runs."""
    base = base_accuracies(experiments_of(table))
    if not base:
        return ""
    if min(base) == max(base):
        return f"Accuracy before training: {base[0]:.3f}."
    return f"Accuracy before training: {sum(base) / len(base):.3f} ({min(base):.3f} to {max(base):.3f})."


def fewer_seeds(table: Table) -> str:
    """A sentence that names the experiments with fewer runs than most; empty if there are none."""
    counts = {
        " ".join([row.label, *table.columns[i : i + 1]]): len(finished(experiment.runs))
        for row in table.rows
        for i, experiment in enumerate(row.experiments)
    }
    if not counts:
        return ""
    usual = Counter(counts.values()).most_common(1)[0][0]
    short = [f"{label} ({count or 'none'})" for label, count in counts.items() if count < usual]
    return f"Most have {usual} seeds. Fewer: {numerals.joined(short)}." if short else ""


def statement_of_budgets(table: Table) -> str:
    """Which methods had the same prompts, rollouts and demonstrations."""
    groups: dict[Budget | None, list[str]] = {}
    for row in table.rows:
        for experiment in only_experiment(row):
            groups.setdefault(budget(experiment.settings), []).append(row.label)
    told = [f"{_told(given)}: {numerals.joined(labels)}." for given, labels in groups.items() if given is not None]
    if untold := groups.get(None, []):
        told.append(f"Not to be told from their settings: {numerals.joined(untold)}.")
    return "Budgets. " + " ".join(sentence[0].upper() + sentence[1:] for sentence in told)


def _told(given: Budget) -> str:
    sampled = f"{given.sampled:,} sampled rollouts for {given.prompts:,} prompts" if given.sampled else "none sampled"
    return f"{sampled}, {given.demonstrations:,} whole demonstrations" if given.demonstrations else sampled


def budgets(table: Table, threshold: float) -> Cells:
    header = ["", "prompts", "sampled rollouts", "whole demonstrations", "tokens generated", "tokens trained"]
    rows = []
    for row in table.rows:
        for experiment in only_experiment(row):
            given, spent = budget(experiment.settings), summarize(experiment, threshold)
            seen = (given.prompts, given.sampled, given.demonstrations) if given else (None, None, None)
            tokens = (spent.total.generated_tokens, spent.total.trained_tokens) if spent else (None, None)
            rows.append([row.label, *map(numerals.whole, (*seen, *tokens))])
    caption = (
        "Of one run. Prompts, rollouts and demonstrations by its settings, on one process, each as often as it is "
        "drawn; a rollout that goes on from a prefix is a sampled one. Tokens as counted in training, mean over "
        "seeds: those that the policy wrote, and those in the loss, also where the advantage is 0."
    )
    return Cells(caption, header, rows)


def drawn_together(table: Table) -> bool:
    return not table.columns and len(table.rows) <= curves.MOST_TOGETHER


def names_in(table: Table) -> list[str]:
    return [experiment.name for experiment in experiments_of(table)]


def draw(table: Table, threshold: float, looks: dict[str, curves.Style], name: str) -> list[Figure]:
    methods = [
        curves.Method(row.label, looks.get(experiment.name, curves.OTHER), experiment.runs)
        for row in table.rows
        for experiment in row.experiments[:1]
    ]
    if drawn_together(table):
        drawn = [(view, curves.draw_together(methods, view, threshold)) for view in curves.VIEWS]
    else:
        drawn = [(curves.ACCURACY, curves.draw_apart(methods, curves.ACCURACY, threshold))]
    return [Figure(f"{name}-{view.name}", svg, describe(methods, view)) for view, svg in drawn if svg]


def describe(methods: Sequence[curves.Method], view: curves.View) -> str:
    """The figure in words: where each curve ends."""
    ends = [(method.label, line[-1][1].value.mean) for method in methods if (line := curves.points(method, view))]
    return f"{view.title}. At the end: " + ", ".join(f"{label} {end:.3g}" for label, end in ends) + "."


def figures_in(blocks: Sequence[Block]) -> list[Figure]:
    return [figure for block in blocks if isinstance(block, Figures) for figure in block.figures]
