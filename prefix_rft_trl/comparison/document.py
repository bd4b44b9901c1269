"""The parts of a report, whatever it is written as. Text may hold `code` in backticks."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heading:
    """A section, and what a link to it is called."""

    text: str
    anchor: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Command:
    text: str


@dataclass(frozen=True)
class Cells:
    """A table. The first column is text; the others are numbers, or text if `numbers` is false.

    Attributes:
        caption (`str`): what it tells.
        header (`list[str]`): a title a column.
        rows (`list[list[str]]`): of as many cells.
        strong (`set[tuple[int, int]]`): cells in bold, as (row, column) without the header.
        numbers (`bool`): whether cells are aligned to the right.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    strong: set[tuple[int, int]] = field(default_factory=set)
    numbers: bool = True


@dataclass(frozen=True)
class Figure:
    """A drawing: `name` of its file, the SVG, and what it shows for those who do not see it."""

    name: str
    svg: str
    description: str


@dataclass(frozen=True)
class Figures:
    """Figures that stand side by side where there is room."""

    figures: list[Figure]


@dataclass(frozen=True)
class Folded:
    """What is only read when it is asked for."""

    title: str
    blocks: list["Block"]


Block = Heading | Paragraph | Command | Cells | Figures | Folded


@dataclass(frozen=True)
class Document:
    title: str
    blocks: list[Block]
