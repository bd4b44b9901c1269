"""Print sentences and tables that fit the terminal and lose nothing: long cells wrap, and columns continue below."""

import shutil
import textwrap
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TextIO

from .printable import printable


if TYPE_CHECKING:
    from rich.table import Table

GAP = 3  # between two columns
NARROWEST_TEXT, NARROWEST_TITLE = 20, 12  # to which a column of text, or the title of one of numbers, is wrapped
Cells = Sequence[str]


@dataclass(frozen=True)
class TextTable:
    """A table of plain text.

    Attributes:
        header (`Sequence[str]`): titles of the columns.
        rows (`Sequence[Sequence[str]]`): cells, as many in each row as there are titles.
        text_columns (`int`): number of columns that hold text. Those after them hold numbers.
        bold (`Container[tuple[int, int]]`): cells in bold, as (row, column).
        look (`dict`): further arguments of a rich `Table`.
    """

    header: Cells
    rows: Sequence[Cells]
    text_columns: int = 1
    bold: Container[tuple[int, int]] = ()
    look: dict[str, Any] = field(default_factory=dict)

    @property
    def repeated(self) -> int:
        """The number of columns that name a row: those of text before numbers, or else the first."""
        return self.text_columns if self.text_columns < len(self.header) else 1

    def parts(self, width: int) -> Iterator["Table"]:
        """The table, or parts of it with a few columns each, in a width; the caption is below the last one."""
        last = {"caption": self.look.get("caption")}
        parts = list(self._column_groups(width))
        for columns in parts:
            look = {**self.look, **(last if columns is parts[-1] else {"caption": None})}
            yield replace(self, look=look)._render(columns, width)

    def _column_groups(self, width: int) -> Iterator[list[int]]:
        """The columns of each part: those that name a row, and as many others as fit."""
        names, group = list(range(self.repeated)), list(range(self.repeated))
        for column in range(self.repeated, len(self.header)):
            needed = sum(self._narrowest(one) + GAP for one in [*group, column])
            if needed > width and group != names:
                yield group
                group = list(names)
            group.append(column)
        yield group

    def _render(self, columns: list[int], width: int) -> "Table":
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, **self.look)
        for column, room in zip(columns, self._widths(columns, width), strict=True):
            table.add_column(Text(printable(self.header[column])), overflow="fold", width=room)
            table.columns[-1].justify = "left" if column < self.text_columns else "right"
        for number, row in enumerate(self.rows):
            styles = ["bold" if (number, column) in self.bold else "" for column in columns]
            cells = [printable(row[column]) for column in columns]
            table.add_row(*(Text(cell, style) for cell, style in zip(cells, styles, strict=True)))
        return table

    def _widths(self, columns: list[int], width: int) -> list[int]:
        """The width of each column: that of its longest cell, less where the room is short, the widest first."""
        widths = {column: max(self._cell_widths(column)) for column in columns}
        while sum(widths.values()) + GAP * len(columns) > width:
            shrinkable = [column for column in columns if widths[column] > self._narrowest(column)]
            if not shrinkable:
                break
            widths[max(shrinkable, key=widths.__getitem__)] -= 1
        return list(widths.values())

    def _narrowest(self, column: int) -> int:
        """The smallest width of a column: numbers stay on a line."""
        title, *cells = self._cell_widths(column)
        if column < self.text_columns:
            return min(max(title, *cells, 0), NARROWEST_TEXT)
        return max(min(title, NARROWEST_TITLE), *cells, 0)

    def _cell_widths(self, column: int) -> list[int]:
        from rich.cells import cell_len

        return [cell_len(printable(row[column])) for row in (self.header, *self.rows)]


def print_table(table: TextTable) -> None:
    """Prints a table in the width of the terminal."""
    from rich.console import Console

    console = Console(force_jupyter=False)
    for part in table.parts(console.width):
        console.print(part)


def print_sentence(text: str, stream: TextIO) -> None:
    """Prints a text, with its lines wrapped on a terminal alone: in a file a sentence is found by its words."""
    text = printable(text)
    if stream.isatty():
        text = "\n".join(_fill(line, shutil.get_terminal_size().columns) for line in text.split("\n"))
    print(text, file=stream)


def fill_paragraphs(text: str, width: int) -> str:
    """Text whose lines fit a width: paragraphs are filled, and lines that are indented stay lines of their own."""
    lines: list[str] = []
    for line in text.splitlines():
        is_continued = lines and lines[-1] and line and not (lines[-1][0].isspace() or line[0].isspace())
        lines[-1:] = [f"{lines[-1]} {line}"] if is_continued else [*lines[-1:], line]
    return "\n".join(_fill(line, width) for line in lines)


def _fill(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    hanging = indent and f"{indent}  "
    return textwrap.fill(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
