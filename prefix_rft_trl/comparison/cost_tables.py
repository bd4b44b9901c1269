"""Tables of what runs have cost: complete, until an accuracy, and by their settings."""

from collections import Counter
from collections.abc import Sequence

from .rendering import MISSING, ReportTable, format_count, format_seconds, format_tokens, join_words
from .results import Experiment, ResultTable
from .statistics import Budget, Cost, Summary, budget


TOKENS = ("tokens generated", "tokens trained")
MOST_NAMED = 4  # of the rows with the same number of steps
Summaries = Sequence[tuple[str, Experiment, Summary | None]]  # by label


def complete_runs(summaries: Summaries) -> ReportTable:
    """What complete runs have reached and cost; with the share of answers that were cut off, if it is known."""
    header = ["", "best on the way", "cut off", "steps", *TOKENS, "time"]
    rows = [
        [
            label,
            f"{found.best:.3f}" if found else MISSING,
            MISSING if found is None or found.truncated is None else f"{found.truncated:.0%}",
            *_cost_cells(found.total if found else None),
        ]
        for label, _, found in summaries
    ]
    cut_off = header.index("cut off")
    caption = "Complete runs, mean over seeds."
    if all(row[cut_off] == MISSING for row in rows):
        header, *rows = [[cell for place, cell in enumerate(line) if place != cut_off] for line in (header, *rows)]
    else:
        caption += " Cut off: share of the answers at the end that the budget has cut off."
    return ReportTable(caption, header, rows)


def until_threshold(summaries: Summaries, threshold: float) -> ReportTable:
    """What runs have cost until an accuracy."""
    return ReportTable(
        f"Until the first measurement with an accuracy of {threshold:g} or more, mean over the seeds that reach it: "
        "where not all do, the cost is that of the lucky ones.",
        ["", "seeds that reach it", "steps", *TOKENS, "time"],
        [[label, *_costs_to_threshold(found)] for label, _, found in summaries],
    )


def budgets(table: ResultTable, summaries: Summaries) -> ReportTable:
    """What runs draw by their settings, and the tokens that they have."""
    return ReportTable(
        "For one run. Prompts, rollouts and demonstrations by its settings, on one process, each as often as it is "
        "drawn; a rollout that continues a prefix is a sampled one. Tokens as counted in training, mean over seeds: "
        "those that the policy wrote, and those in the loss, also where the advantage is 0.",
        ["", "prompts", "sampled rollouts", "complete demonstrations", *TOKENS],
        [[label, *_budget_cells(experiment, found)] for label, experiment, found in summaries],
        title=f"Budgets: {table.title}",
    )


def equal_budgets(table: ResultTable) -> str:
    """Sentences that group the methods by their budget of prompts, rollouts and demonstrations."""
    groups: dict[Budget | None, list[str]] = {}
    for row in table.rows:
        groups.setdefault(budget(row.experiments[0].settings), []).append(row.label)
    unknown = groups.pop(None, [])
    sentences = [f"{_describe_budget(given)}: {join_words(labels)}." for given, labels in groups.items() if given]
    if unknown:
        sentences.append(f"Unknown from their settings: {join_words(unknown)}.")
    return " ".join(["Budgets.", *sentences])


def different_steps(table: ResultTable) -> str:
    """A sentence on the steps of each row; empty if all have as many."""
    steps = {row.label: runs[0].curve[-1]["step"] for row in table.rows if (runs := row.experiments[0].measured_runs)}
    if len(set(steps.values())) < 2:
        return ""
    usual, rows = Counter(steps.values()).most_common(1)[0]
    others = [f"{label} {n:,}" for label, n in steps.items() if n != usual or rows <= MOST_NAMED]
    rest = [f"all others {usual:,}"] if rows > MOST_NAMED else []
    return f"Steps, those of all stages together: {join_words(others + rest)}."


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


def _describe_budget(given: Budget) -> str:
    sampled = f"{given.sampled:,} sampled rollouts for {given.prompts:,} prompts" if given.sampled else "None sampled"
    return f"{sampled}, {given.demonstrations:,} complete demonstrations" if given.demonstrations else sampled
