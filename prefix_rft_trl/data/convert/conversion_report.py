"""Print what a conversion kept, dropped and appended, and one row as it is written."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefix_rft_trl.utils.printable import printable

from .extraction import Count
from .instruction import Instruction


if TYPE_CHECKING:
    from rich.table import Table

    from .conversion import Conversion

WIDTH_WITHOUT_TERMINAL = 80
LONGEST_TEXT = 600  # characters of a text in the row that is shown
HEAD, TAIL = 300, 200  # and what is left of a longer one


def print_conversion(
    conversion: "Conversion",
    name: str,
    outputs: Sequence[Path],
    instruction: Instruction,
    system_prompt: str | None = None,
) -> None:
    """Prints the table, what was added to the prompts, a row, and the paths of the rows."""
    from rich.console import Console
    from rich.filesize import decimal

    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False)
    console.print(f"\n{printable(name)}", soft_wrap=True)
    console.print(make_table(conversion))
    if conversion.example is None:
        return
    for line in added_lines(instruction, system_prompt):
        console.print(printable(line), soft_wrap=True)
    console.print("\nA row as it is written:")
    console.print(row_table(conversion.example))
    files = " and ".join(f"{output} ({decimal(output.stat().st_size)})" for output in outputs)
    console.print(f"\nThe rows are in {files}.", soft_wrap=True)
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
        first = Text(printable(example), no_wrap=True, overflow="ellipsis")
        table.add_row(Text(printable(label)), f"{number:,}", first)
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


def added_lines(instruction: Instruction, system_prompt: str | None) -> Iterator[str]:
    """What the prompts have that the source does not, or why they have nothing."""
    if system_prompt:
        yield f"In front of each prompt (--system_prompt): {system_prompt}"
    if instruction.text:
        yield f"Appended to each prompt (--instruction): {instruction.text}"
        return
    yield "Nothing was appended to the prompts."
    yield from instruction.reason.splitlines()


def row_table(row: dict[str, Any]) -> "Table":
    """The columns of a row with their texts, long ones without their middle."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in row.items():
        table.add_row(Text(printable(f"  {name}")), Text(printable("\n".join(_texts(value)))))
    return table


def _texts(value: Any) -> Iterator[str]:
    """The texts of a value: of messages, each with its role, of a list of alternatives, each of them."""
    if isinstance(value, dict):
        yield f"{value['role']}: {_without_middle(value['content'])}"
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield _without_middle(str(value))


def _without_middle(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:HEAD]} […] {text[-TAIL:]}"
