"""A report in the terminal: a table of what was found, how long demonstrations are, and examples."""

from collections.abc import Iterator

from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from .check_report import Report
from .findings import KINDS
from .lengths import Lengths


BAR_WIDTH = 30


def print_report(report: Report, title: str, examples: int, console: Console) -> None:
    """Prints a report.

    Args:
        report (`Report`): what was found.
        title (`str`): what was looked at.
        examples (`int`): how many rows to show of each kind.
        console (`Console`): where to.
    """
    for part in _parts(report, title, examples):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


def _parts(report: Report, title: str, examples: int) -> Iterator[RenderableType]:
    yield f"\n[bold]{escape(title)}[/]: {report.rows:,} rows, {report.demonstrations:,} demonstrations"
    yield f"[dim]benchmarks: {_benchmarks(report)}[/]\n"
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
    yield from (f"[dim]{escape(note)}[/]" for note in report.notes)
    yield _verdict(report)


def _benchmarks(report: Report) -> str:
    return ", ".join(f"{escape(name)} ({size})" for name, size in report.benchmarks.items()) or "none"


def _table(report: Report) -> Table:
    table = Table("found", "rows", "share", box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, about in KINDS.items():
        rows = len(report.rows_with(kind))
        style = "dim" if not rows else "bold red" if about.is_problem else "bold"
        number = "not checked" if kind in report.unchecked else f"{rows:,}"
        table.add_row(about.title, number, _share(rows, report.rows) if rows else "", style=style)
    return table


def _share(rows: int, of: int) -> str:
    share = rows / of
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _histogram(found: Lengths) -> Table:
    bars = Table(box=None, show_header=False, pad_edge=False)
    bars.add_column(justify="right")
    bars.add_column()
    bars.add_column(justify="right")
    most = max(number for *_, number in found.bins)
    for first, last, number in found.bins:
        span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        bars.add_row(span, Bar(most, 0, number, width=BAR_WIDTH, color="cyan"), f"{number:,}")
    return bars


def _examples(report: Report, kind: str, examples: int) -> Iterator[str]:
    about, found = KINDS[kind], report.findings[kind]
    yield f"\n[{'bold red' if about.is_problem else 'bold'}]{about.title}[/]  [dim]{escape(about.advice)}[/]"
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
