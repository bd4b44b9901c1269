"""Render a report: as Markdown, as an HTML page made from that Markdown, and tables in the terminal.

Settings stand in backticks, and that is all the markup of a text: labels and titles come from recipes and are not
trusted. Everything else is escaped in the Markdown, and the page links nothing and shows no image but the figures of
the report.
"""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefix_rft_trl.utils.markdown import fenced, plain_markdown
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.tables import TextTable
from prefix_rft_trl.utils.tables import print_table as print_text_table

from .uncertainty import MeanOverRuns


MISSING = "-"
UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_FORMULA = re.compile(r"(?<!\\)((?:\\\\)*)\$")  # a dollar that is not escaped
_CELL_START = "x "
TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class ReportTable:
    """A table of texts.

    Attributes:
        caption (`str`): what it shows.
        header (`list[str]`): titles of the columns.
        rows (`list[list[str]]`): cells, as many in each row as there are titles.
        title (`str`): of the subsection that holds the table alone, if it has one.
        bold (`set[tuple[int, int]]`): cells in bold, as (row, column).
        numbers (`bool`): whether all columns but the first are aligned to the right.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    title: str = ""
    bold: set[tuple[int, int]] = field(default_factory=set)
    numbers: bool = True


@dataclass(frozen=True)
class ReportFigure:
    """A drawing: path relative to the report, as SVG and PNG, and a description for those who do not see it."""

    path: str
    svg: str
    png: bytes
    description: str

    @property
    def png_path(self) -> str:
        return self.path.removesuffix(".svg") + ".png"


Block = str | ReportTable | list[ReportFigure]


@dataclass(frozen=True)
class ComparisonReport:
    """A report; its sections are titles with paragraphs, tables and groups of figures.

    For the page alone, `settings` are those of each experiment by its label, and `colours` those of methods in the
    figures by the label of a row.
    """

    title: str
    command: str
    introduction: list[str]
    sections: list[tuple[str, list[Block]]]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> list[ReportFigure]:
        groups = (block for _, blocks in self.sections for block in blocks if isinstance(block, list))
        return [figure for group in groups for figure in group]


def to_markdown(report: ComparisonReport) -> str:
    parts = [f"# {_escaped(report.title)}", fenced(report.command, "bash")]
    parts += map(_escaped, report.introduction)
    for title, blocks in report.sections:
        parts += [f"## {_escaped(title)}", *map(_markdown_block, blocks)]
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    """The text in one line, with all markup but code in backticks escaped, and dollars, which would make a formula."""
    parts = re.split(r"(`[^`]*`)", plain_markdown(text))
    return "".join(part if place % 2 else _FORMULA.sub(r"\1\\$", part) for place, part in enumerate(parts))


def _escaped_cell(text: str) -> str:
    """The text in a cell, where nothing begins a line: a dash in front makes no list."""
    return text.strip() and _escaped(f"{_CELL_START}{text}").removeprefix(_CELL_START)


def _markdown_block(block: Block) -> str:
    if isinstance(block, str):
        return _escaped(block)
    if isinstance(block, ReportTable):
        title = [f"### {_escaped(block.title)}"] if block.title else []
        return "\n\n".join([*title, _escaped(block.caption), _markdown_table(block)])
    return "\n".join(f"![{_escaped(figure.description)}]({figure.path})" for figure in block)


def _markdown_table(table: ReportTable) -> str:
    """The table with its columns aligned, so that it can be read in a terminal too."""
    rows = [[_escaped_cell(cell).replace("|", "\\|") for cell in row] for row in (table.header, *table.rows)]
    for row, column in table.bold:
        rows[row + 1][column] = f"**{rows[row + 1][column]}**"
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    right = [table.numbers and column > 0 for column in range(len(widths))]
    rows = [
        [cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)]
        for row in rows
    ]
    rule = ["-" * (width - 1) + (":" if r else "-") for width, r in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))


def markdown_width(rows: Sequence[Sequence[str]]) -> int:
    """The width of a table of cells in the Markdown, in columns."""
    header, *others = rows
    return max(map(len, _markdown_table(ReportTable("", list(header), [list(row) for row in others])).splitlines()))


def to_html(report: ComparisonReport, markdown: str) -> str:
    """One HTML file that fetches nothing, from the report as Markdown, with its figures and all settings."""
    from jinja2 import Environment
    from markdown_it import MarkdownIt

    parser = MarkdownIt("js-default", {"html": False}).disable(["link", "autolink"])
    parser.add_render_rule("image", _inline_figure)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    parser.add_render_rule("td_open", _coloured_cell)
    env = {
        "figures": {figure.path: figure.svg for figure in report.figures},
        "colours": {_escaped_cell(label): colour for label, colour in report.colours.items()},
    }
    tokens = parser.parse(markdown, env)

    def render(part: Sequence[Any]) -> str:
        return parser.renderer.render(part, parser.options, env)

    headings = [place for place, token in enumerate(tokens) if (token.type, token.tag) == ("heading_open", "h2")]
    contents: dict[str, str] = {}
    for place in headings:
        anchor = f"section-{len(contents) + 1}"
        tokens[place].attrSet("id", anchor)
        contents[anchor] = render([tokens[place + 1]])
    start = headings[0] if headings else len(tokens)
    parts = {"contents": contents, "introduction": render(tokens[:start]), "sections": render(tokens[start:])}
    settings = {
        label: {name: format_setting(value) for name, value in given.items()}
        for label, given in report.settings.items()
    }
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text("utf-8"))
    return template.render(title=report.title, settings=settings, **parts)


def _inline_figure(renderer: Any, tokens: Sequence[Any], place: int, options: Any, env: Any) -> str:
    from markdown_it.common.utils import escapeHtml

    image = tokens[place]
    description = escapeHtml(renderer.renderInlineAsText(image.children, options, env))
    svg = env["figures"].get(image.attrGet("src"))
    if svg is None:  # of a label that holds an image
        return description
    return f'<img src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}" alt="{description}">'


def _coloured_cell(renderer: Any, tokens: Sequence[Any], place: int, options: Any, env: Any) -> str:
    """The first cell of a row has the colour that its method has in the figures."""
    colour = env["colours"].get(tokens[place + 1].content)
    if colour and tokens[place - 1].type == "tr_open":
        tokens[place].attrSet("style", f"box-shadow: inset 0.35rem 0 {colour}, inset 0.45rem 0 #ffffff")
    return renderer.renderToken(tokens, place, options, env)


def print_table(table: ReportTable) -> None:
    """Print a table in the terminal, and its caption below it."""
    from rich.console import Console

    text_columns = 1 if table.numbers else len(table.header)
    print_text_table(TextTable(table.header, table.rows, text_columns, table.bold, {"show_edge": False}))
    console = Console(highlight=False, markup=False, emoji=False, force_jupyter=False)
    console.print(f"\n{printable(table.caption)}\n")


def format_mean(mean: MeanOverRuns, sign: str = "") -> str:
    """`0.912 (0.870 to 0.942)`, without an interval where nothing tells one; `sign="+"` writes that of all figures."""
    interval = mean.interval and [f"{end:{sign}.3f}" for end in mean.interval]
    return f"{mean.mean:{sign}.3f}" + (f" ({interval[0]} to {interval[1]})" if interval else "")


def format_tokens(count: float) -> str:
    """Three digits: `950`, `9.87k`, `412k`, `1.24M`."""
    rounded = float(f"{count:.3g}")
    for unit, suffix in UNITS:
        if rounded >= unit:
            return f"{rounded / unit:#.3g}".rstrip(".") + suffix
    return f"{count:.0f}"


def format_count(count: float | None) -> str:
    """`7,680`."""
    return MISSING if count is None else f"{count:,.0f}"


def format_seconds(duration: float) -> str:
    """`31 s`, below ten seconds `4.2 s`."""
    return f"{duration:.1f} s" if duration < 9.95 else f"{duration:,.0f} s"


def format_setting(value: Any) -> str:
    """A value as in a recipe."""
    if isinstance(value, str):
        return value or '""'
    return repr(value) if isinstance(value, float) else json.dumps(value, default=str)


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
