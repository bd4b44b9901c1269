"""A row of a dataset, read once for all checks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.rewards.golds import acceptable_golds

from .findings import Finding
from .texts import excerpt, prompt_fault


@dataclass(frozen=True)
class Columns:
    """The columns of a dataset.

    Attributes:
        prompt (`str`): of the prompts.
        demonstration (`str`, *optional*): of the demonstrations; `None` for plain GRPO.
        answer (`str`, *optional*): of the gold answers; `None` where the reward needs none.
    """

    prompt: str = "prompt"
    demonstration: str | None = "completion"
    answer: str | None = "solution"

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name in (self.prompt, self.demonstration, self.answer) if name))


@dataclass
class Row:
    """A row as the checks see it.

    Attributes:
        number (`int`): counted from 0.
        prompt: text or messages; `None` if it is of no use.
        demonstrations (`list[dict]`): assistant messages.
        solution: the answer column as it is.
        golds (`tuple[str, ...]`): the answers in it.
        findings (`list[Finding]`): what was wrong with its form.
    """

    number: int
    prompt: Any
    demonstrations: list[Message]
    solution: Any
    golds: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)


def read_rows(values: Iterable[dict[str, Any]], columns: Columns) -> Iterator[Row]:
    """The rows of a dataset, with what is wrong with their form."""
    for number, value in enumerate(values):
        yield _read_row(number, value, columns)


def _read_row(number: int, value: dict[str, Any], columns: Columns) -> Row:
    solution = value[columns.answer] if columns.answer else None
    row = Row(number, value[columns.prompt], [], solution, acceptable_golds(solution))

    def add(kind: str, note: str) -> None:
        row.findings.append(Finding(kind, number, note))

    if fault := prompt_fault(row.prompt):
        row.prompt = None
        add("prompt_unusable", fault)
    if columns.answer and not row.golds:
        add("gold_missing", "nothing" if solution is None else f"found {excerpt(repr(solution))}")
    if columns.demonstration:
        _read_demonstrations(row, value[columns.demonstration], columns.demonstration, add)
    return row


def _read_demonstrations(row: Row, value: Any, column: str, add: Callable[[str, str], None]) -> None:
    try:
        row.demonstrations = parse_demonstrations(value, row.number, column)
    except ValueError as error:
        add("demonstration_unusable", str(error).partition(": ")[2])
        return
    if len(row.demonstrations) > 1:
        add("several_demonstrations", f"{len(row.demonstrations)} of them")
    if not row.demonstrations:
        add("no_demonstration", "nothing" if value is None else "empty")
