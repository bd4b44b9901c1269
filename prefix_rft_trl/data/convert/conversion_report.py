"""Print what a conversion kept and dropped, and why."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .extraction import Count


if TYPE_CHECKING:
    from rich.table import Table

    from .conversion import Conversion

WIDTH_WITHOUT_TERMINAL = 120


def print_conversion(conversion: "Conversion", name: str, outputs: Sequence[Path]) -> None:
    """Prints the table and the paths of the rows."""
    from rich.console import Console
    from rich.filesize import decimal

    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False)
    console.print(f"\n{name}")
    console.print(make_table(conversion))
    if conversion.rows_kept:
        files = " and ".join(f"{output} ({decimal(output.stat().st_size)})" for output in outputs)
        console.print(f"The rows are in {files}.", soft_wrap=True)
    if conversion.rows_held_out:
        console.print(f"`dataset_name: {outputs[0].parent}` trains on the first and measures on the second.")


def make_table(conversion: "Conversion") -> "Table":
    """Counts with the reasons, each reason with its first example."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("number", justify="right", no_wrap=True)
    table.add_column("first example")
    for label, number, example in table_lines(conversion):
        table.add_row(Text(label), f"{number:,}", Text(example, no_wrap=True, overflow="ellipsis"))
    return table


def table_lines(conversion: "Conversion") -> list[tuple[str, int, str]]:
    """Label, number and example of each line."""
    tally = conversion.tally
    lines = [("rows read", tally.rows_read, ""), *_reasons(tally.dropped, "rows dropped")]
    lines += [("rows kept", conversion.rows_kept, ""), ("  with a demonstration", conversion.rows_demonstrated, "")]
    if conversion.rows_held_out:
        lines.append(("  held out", conversion.rows_held_out, ""))
    lines += [("demonstrations", conversion.demonstrations, ""), ("  corrupted", conversion.corrupted, "")]
    if conversion.shortfall:
        lines.append(("  not corrupted, although requested", conversion.shortfall, ""))
    if tally.left_out:
        lines += _reasons(tally.left_out, "demonstrations left out of kept rows")
    return lines + _reasons(tally.noted)


def _reasons(counts: dict[str, Count], title: str = "") -> list[tuple[str, int, str]]:
    """Reasons by number, indented below a line with their total if that has a title."""
    total = [(title, sum(entry.number for entry in counts.values()), "")] if title else []
    indent = "  " if title else ""
    by_number = sorted(counts.items(), key=lambda item: -item[1].number)
    return total + [(f"{indent}{why}", found.number, f"row {found.row}: {found.example}") for why, found in by_number]
