"""Print tables of text in the terminal, complete however narrow it is."""

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from rich.table import Table


def text_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    text_columns: int = 1,
    bold: Container[tuple[int, int]] = (),
    **look: Any,
) -> "Table":
    """A rich `Table` of plain text, some cells, (row, column), in bold; columns after those of text hold numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, **look)
    for column, title in enumerate(header):
        table.add_column(Text(title), justify="left" if column < text_columns else "right", no_wrap=True)
    for number, row in enumerate(rows):
        styles = ["bold" if (number, column) in bold else "" for column in range(len(row))]
        table.add_row(*(Text(cell, style) for cell, style in zip(row, styles, strict=True)))
    return table


def print_wide(table: "Table") -> None:
    """Prints a table at its full width: in a narrower terminal rich would cut off its cells."""
    from rich.console import Console

    console = Console(force_jupyter=False)
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)
