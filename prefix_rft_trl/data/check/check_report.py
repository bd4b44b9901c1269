"""Report the findings of a dataset: as tables in the terminal, as JSON, as an exit code."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prefix_rft_trl.utils.printable import printable

from .findings import KINDS, Finding
from .lengths import Lengths


BAR_WIDTH = 30


@dataclass
class Report:
    """Everything that was found in a dataset.

    Attributes:
        rows (`int`): number of rows.
        demonstrations (`int`): number of demonstrations in all rows.
        findings (`dict[str, list[Finding]]`): by kind, in the order of the rows.
        unchecked (`dict[str, str]`): kinds that could not be checked, with the reason.
        unit (`str`): unit of the lengths.
        lengths (`dict[str, Lengths]`): summaries for `prompts` and `demonstrations`.
        benchmarks (`dict[str, int]`): number of problems of each benchmark that was compared.
        notes (`list[str]`): further remarks.
        unusable (`list[str]`): reasons why the dataset cannot be trained on.
        held_out (`int`): how many of the rows are held out of training.
        trajectories (`int`): how many of the demonstrations have tool calls.
    """

    rows: int
    demonstrations: int = 0
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    unit: str = "characters"
    lengths: dict[str, Lengths] = field(default_factory=dict)
    benchmarks: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    held_out: int = 0
    trajectories: int = 0

    def rows_with(self, kind: str) -> list[int]:
        """The rows with a finding of a kind, each once."""
        return list(dict.fromkeys(finding.row for finding in self.findings.get(kind, [])))

    @property
    def problems(self) -> list[str]:
        """The kinds that were found and are problems."""
        return [kind for kind, about in KINDS.items() if about.is_problem and self.findings.get(kind)]

    @property
    def exit_code(self) -> int:
        """0 for clean, 1 for problems, 2 for unusable."""
        return 2 if self.unusable else 1 if self.problems else 0

    def to_json(self) -> dict[str, Any]:
        """Everything, with all row numbers, for `json.dump`."""
        return {
            "exit_code": self.exit_code,
            "unusable": self.unusable,
            "rows": self.rows,
            "held_out": self.held_out,
            "demonstrations": self.demonstrations,
            "trajectories": self.trajectories,
            "findings": {
                kind: {
                    "title": about.title,
                    "is_problem": about.is_problem,
                    "unchecked": self.unchecked.get(kind),
                    "rows": self.rows_with(kind),
                    "notes": [{"row": finding.row, "note": finding.note} for finding in self.findings.get(kind, [])],
                }
                for kind, about in KINDS.items()
            },
            "lengths": {"unit": self.unit, **{name: asdict(found) for name, found in self.lengths.items()}},
            "benchmarks": self.benchmarks,
            "notes": self.notes,
        }


def print_report(report: Report, title: str, examples: int, console: Console) -> None:
    """Prints a report under the name of the dataset, with a number of examples of each kind of finding.

    Lines are wrapped on a terminal alone: in a file a sentence is found by its words.
    """
    for part in _parts(report, title, examples):
        part = printable(part) if isinstance(part, str) else part
        shown = _wrapped(part) if isinstance(part, str) and console.is_terminal else part
        console.print(shown, highlight=False, soft_wrap=isinstance(shown, str))


def _wrapped(line: str) -> Padding:
    text = line.lstrip(" ")
    return Padding(Text.from_markup(text), (0, 0, 0, len(line) - len(text)), expand=False)


def _parts(report: Report, title: str, examples: int) -> Iterator[RenderableType]:
    with_calls = f", {report.trajectories:,} of them with tool calls" if report.trajectories else ""
    yield f"\n[bold]{escape(title)}[/]: {report.rows:,} rows, {report.demonstrations:,} demonstrations{with_calls}"
    if report.held_out:
        yield f"{report.held_out:,} of the rows are held out: they are measured, and not trained on."
    benchmarks = ", ".join(f"{escape(name)} ({size})" for name, size in report.benchmarks.items())
    yield f"[dim]benchmarks: {benchmarks or 'none'}[/]\n"
    yield _table(report)
    for name, found in report.lengths.items():
        yield (
            f"\n[bold]Length of {name}[/] in {report.unit}: min {found.minimum:,}, median {found.median:,}, "
            f"95% below {found.percentile_95:,}, max {found.maximum:,}"
        )
        if name == "demonstrations":
            yield _histogram(found)
    for kind in KINDS:
        if report.findings.get(kind) and examples > 0:
            yield from _examples(report, kind, examples)
    yield from (Text(printable(note), style="dim") for note in report.notes)
    yield _verdict(report)


def _table(report: Report) -> Table:
    table = Table("finding", box=None, pad_edge=False, header_style="dim")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    for kind, about in KINDS.items():
        rows = len(report.rows_with(kind))
        if about.of_trajectories and not (rows or report.trajectories):
            continue
        style = "dim" if not rows else "bold red" if about.is_problem else "bold"
        number = "not checked" if kind in report.unchecked else f"{rows:,}"
        share = "" if not rows else "<0.1%" if rows < 0.001 * report.rows else f"{rows / report.rows:.1%}"
        table.add_row(about.title, number, share, style=style)
    return table


def _histogram(found: Lengths) -> Table:
    bars = Table.grid("", "", "", padding=(0, 1))
    bars.columns[0].justify = bars.columns[2].justify = "right"
    most = max(number for *_, number in found.bins)
    for first, last, number in found.bins:
        span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        bars.add_row(span, Bar(most, 0, number, width=BAR_WIDTH, color="cyan"), f"{number:,}")
    return bars


def _examples(report: Report, kind: str, examples: int) -> Iterator[RenderableType]:
    about, found = KINDS[kind], report.findings[kind]
    yield f"\n[{'bold red' if about.is_problem else 'bold'}]{about.title}[/]"
    yield Text(about.advice, style="dim")
    for finding in found[:examples]:
        yield f"  row {finding.row}: {escape(finding.note)}"
    if len(found) > examples:
        yield f"  [dim]and {len(found) - examples:,} more[/]"


def _verdict(report: Report) -> str:
    if report.unusable:
        return f"\n[bold red]Unusable: {escape('; '.join(report.unusable))}.[/]"
    if not report.problems:
        return "\n[bold green]Clean.[/]"
    rows = {finding.row for kind in report.problems for finding in report.findings[kind]}
    return f"\n[bold red]Problems in {len(rows):,} of {report.rows:,} rows.[/] Rows are counted from 0."
