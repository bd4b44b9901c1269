"""What a conversion kept and dropped and why, as a table in the terminal."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .selection import Count, total


if TYPE_CHECKING:
    from rich.table import Table

    from .conversion import Outcome

WIDTH_OF_A_FILE = 120


def show(outcome: "Outcome", name: str, output: Path) -> None:
    """Prints the table and where the rows are."""
    from rich.console import Console

    console = Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE, highlight=False, markup=False
    )
    console.print(f"\n{name}")
    console.print(table(outcome))
    if outcome.rows_kept:
        console.print(f"The rows are in {output} ({size_text(output.stat().st_size)}).", soft_wrap=True)


def table(outcome: "Outcome") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = lines(outcome)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("")
    made.add_column("number", justify="right")
    has_examples = any(example for _, _, example in found)
    made.add_column("the first of them" if has_examples else "", no_wrap=True, overflow="ellipsis")
    for label, number, example in found:
        made.add_row(Text(label), f"{number:,}", Text(example))
    return made


def lines(outcome: "Outcome") -> list[tuple[str, int, str]]:
    """Label, number and example of each line of the table."""
    tally = outcome.tally
    found = [("rows read", outcome.rows_read, ""), ("rows dropped", total(tally.dropped), "")]
    found += _entries(tally.dropped)
    found += [("rows kept", outcome.rows_kept, ""), ("  with a demonstration", outcome.rows_demonstrated, "")]
    found += [("demonstrations", outcome.demonstrations, ""), ("  damaged", outcome.damaged, "")]
    found += [("  not damaged, although asked", outcome.beyond_damage, "")] if outcome.beyond_damage else []
    found += [("demonstrations left out of rows kept", total(tally.left_out), "")] if tally.left_out else []
    found += _entries(tally.left_out)
    return found + [(label.strip(), number, example) for label, number, example in _entries(tally.noted)]


def _entries(counts: dict[str, Count]) -> list[tuple[str, int, str]]:
    by_number = sorted(counts.items(), key=lambda item: -item[1].number)
    return [(f"  {reason}", entry.number, f"row {entry.row}: {entry.example}") for reason, entry in by_number]


def size_text(size: int) -> str:
    """`1.5 MB` for a number of bytes."""
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
