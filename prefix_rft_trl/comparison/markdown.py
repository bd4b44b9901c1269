"""A report as Markdown that also reads well in a terminal."""

from collections.abc import Sequence

from .document import Block, Cells, Command, Document, Figures, Folded, Heading, Paragraph


def render(document: Document, figure_folder: str) -> str:
    """The document, its figures linked as `figure_folder/name.svg`."""
    parts = [f"# {document.title}", *(render_block(block, figure_folder) for block in document.blocks)]
    return "\n\n".join(parts) + "\n"


def render_block(block: Block, figure_folder: str) -> str:
    match block:
        case Heading(text, _):
            return f"## {text}"
        case Paragraph(text):
            return text
        case Command(text):
            return f"```bash\n{text}\n```"
        case Cells():
            return f"{block.caption}\n\n{render_cells(block)}"
        case Figures(figures):
            links = (f"![{label(figure.description)}]({figure_folder}/{figure.name}.svg)" for figure in figures)
            return "\n\n".join(links)
        case Folded(title, blocks):
            return "\n\n".join([f"### {title}", *(render_block(inner, figure_folder) for inner in blocks)])


def render_cells(cells: Cells) -> str:
    rows = [[escape(cell) for cell in row] for row in [cells.header, *cells.rows]]
    for row, column in cells.strong:
        rows[row + 1][column] = f"**{rows[row + 1][column]}**"
    header, *body = padded(rows, cells.numbers)
    rule = [rule_of(len(cell), to_the_right=cells.numbers and column > 0) for column, cell in enumerate(header)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *body])


def rule_of(width: int, to_the_right: bool) -> str:
    return "-" * (width - 1) + ":" if to_the_right else "-" * width


def padded(rows: Sequence[Sequence[str]], numbers: bool) -> list[list[str]]:
    """The cells of a column at equal width, of three characters at least."""
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    return [
        [
            cell.rjust(width) if numbers and column > 0 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def plain(cells: Cells) -> str:
    """The table for a console: columns in line, no marks."""
    header, *body = padded([cells.header, *cells.rows], cells.numbers)
    rule = ["-" * len(cell) for cell in header]
    return "\n".join("  ".join(row).rstrip() for row in [header, rule, *body])


def escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def label(text: str) -> str:
    return text.replace("[", "\\[").replace("]", "\\]").replace("\n", " ")
