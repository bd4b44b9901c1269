"""Read rows of any form for the checks, with findings about the form itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prefix_rft_trl.data.row_scan import prompt_fault, repeats_prompt
from prefix_rft_trl.data.texts import excerpt
from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.rewards.answers import acceptable_golds

from .findings import Finding


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
class CheckedRow:
    """A row as the checks see it.

    Attributes:
        number (`int`): in the dataset, counted from 0.
        prompt: text or messages; `None` if it is unusable.
        demonstrations (`list[dict]`): assistant messages.
        solution: the answer column as it is.
        golds (`tuple[str, ...]`): the answers in it.
        findings (`list[Finding]`): faults of its form.
    """

    number: int
    prompt: Any
    demonstrations: list[Message]
    solution: Any
    golds: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)

    def named_demonstrations(self) -> Iterator[tuple[str, Message]]:
        """Each demonstration as `demonstration`, or `demonstration 2 of 3` where there are several."""
        total = len(self.demonstrations)
        for number, message in enumerate(self.demonstrations, 1):
            yield "demonstration" if total == 1 else f"demonstration {number} of {total}", message


class RowCheck(ABC):
    """Looks at rows one by one; findings that take all rows are made at the end."""

    @abstractmethod
    def read(self, row: CheckedRow) -> Iterator[Finding]: ...

    def finish(self) -> Iterator[Finding]:
        return iter(())


def read_rows(values: Iterable[dict[str, Any]], columns: Columns, numbers: Iterable[int]) -> Iterator[CheckedRow]:
    """The rows of a dataset by their numbers, with the faults of their form."""
    for number, value in zip(numbers, values, strict=True):
        yield _read_row(number, value, columns)


def _read_row(number: int, value: dict[str, Any], columns: Columns) -> CheckedRow:
    solution = value[columns.answer] if columns.answer else None
    row = CheckedRow(number, value[columns.prompt], [], solution, acceptable_golds(solution))

    def add(kind: str, note: str) -> None:
        row.findings.append(Finding(kind, number, note))

    if fault := prompt_fault(row.prompt):
        row.prompt = None
        add("prompt_unusable", fault)
    if columns.answer and not row.golds:
        add("gold_missing", "nothing" if solution is None else f"found {excerpt(repr(solution))}")
    if not columns.demonstration:
        return row
    demonstrations = value[columns.demonstration]
    try:
        row.demonstrations = parse_demonstrations(demonstrations, number, columns.demonstration)
    except ValueError as error:
        add("demonstration_unusable", str(error).partition(": ")[2])
        return row
    if len(row.demonstrations) > 1:
        add("several_demonstrations", f"{len(row.demonstrations)} of them")
    if row.prompt is not None and repeats_prompt(row.prompt, row.demonstrations):
        add("demonstration_is_prompt", excerpt(row.demonstrations[0]["content"]))
    if not row.demonstrations:
        add("no_demonstration", "nothing" if demonstrations is None else "empty")
    return row
