"""Read rows of any form for the checks, with findings about the form itself."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prefix_rft_trl.data.row_scan import prompt_fault, repeats_prompt
from prefix_rft_trl.data.texts import excerpt
from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.method.trajectories import Trajectory, has_turns, parse_trajectory
from prefix_rft_trl.rewards.answers import acceptable_golds

from .findings import Finding
from .turn_faults import spoken_text, turn_faults


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
        demonstrations (`list[dict]`): assistant messages; of a trajectory one with all of its texts.
        solution: the answer column as it is.
        golds (`tuple[str, ...]`): the answers in it.
        findings (`list[Finding]`): faults of its form.
        trajectories (`dict[int, Trajectory]`): demonstrations with tool calls, by their place among all.
        value (`dict`): the row as it is in the dataset.
    """

    number: int
    prompt: Any
    demonstrations: list[Message]
    solution: Any
    golds: tuple[str, ...]
    findings: list[Finding] = field(default_factory=list)
    trajectories: dict[int, Trajectory] = field(default_factory=dict)
    value: dict[str, Any] = field(default_factory=dict)

    def named_demonstrations(self) -> Iterator[tuple[str, Message]]:
        """Each demonstration as `demonstration`, or `demonstration 2 of 3` where there are several."""
        for place, message in enumerate(self.demonstrations):
            yield self._name(place), message

    def named_answers(self) -> Iterator[tuple[str, str, str]]:
        """Each demonstration's name, what comes before its last turn, and the text of that turn."""
        for place, (name, message) in enumerate(self.named_demonstrations()):
            if place in self.trajectories:
                *before, last = self.trajectories[place].turns
                yield name, spoken_text(Trajectory(tuple(before))), last.message["content"]
            else:
                yield name, "", message["content"]

    def named_trajectories(self) -> Iterator[tuple[str, Trajectory]]:
        """Each demonstration with tool calls, under the same names."""
        for place, trajectory in self.trajectories.items():
            yield self._name(place), trajectory

    def named_messages(self) -> Iterator[tuple[str, Message]]:
        """Each demonstration of one turn, under the same names."""
        for place, message in enumerate(self.demonstrations):
            if place not in self.trajectories:
                yield self._name(place), message

    def _name(self, place: int) -> str:
        total = len(self.demonstrations)
        return "demonstration" if total == 1 else f"demonstration {place + 1} of {total}"


class RowCheck(ABC):
    """Looks at rows one by one; findings that take all rows are made at the end."""

    @abstractmethod
    def read(self, row: CheckedRow) -> Iterator[Finding]: ...

    def finish(self) -> Iterator[Finding]:
        return iter(())


class CallCheck(RowCheck):
    """Looks at tool calls, with what a run has for them."""

    @property
    def available(self) -> dict[str, bool]:
        """By the needs of findings whether this check has it, after all rows."""
        return {}

    @property
    def notes(self) -> list[str]:
        """Remarks for the report, after all rows."""
        return []

    def columns(self, names: list[str]) -> list[str]:
        """Those of a dataset that it reads, besides prompts, demonstrations and answers."""
        return []

    def why_unusable(self) -> Iterator[str]:
        """Reasons why no run could use the dataset, after all rows."""
        return iter(())


def read_rows(values: Iterable[dict[str, Any]], columns: Columns, numbers: Iterable[int]) -> Iterator[CheckedRow]:
    """The rows of a dataset by their numbers, with the faults of their form."""
    for number, value in zip(numbers, values, strict=True):
        yield _read_row(number, value, columns)


def _read_row(number: int, value: dict[str, Any], columns: Columns) -> CheckedRow:
    solution = value[columns.answer] if columns.answer else None
    row = CheckedRow(number, value[columns.prompt], [], solution, acceptable_golds(solution), value=value)

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
    faults = list(_read_demonstrations(row, demonstrations, columns.demonstration))
    if faults:
        for kind, note in faults:
            add(kind, note)
        return row
    if len(row.demonstrations) > 1:
        add("several_demonstrations", f"{len(row.demonstrations)} of them")
    if row.prompt is not None and repeats_prompt(row.prompt, row.demonstrations):
        add("demonstration_is_prompt", excerpt(row.demonstrations[0]["content"]))
    if not row.demonstrations:
        add("no_demonstration", "nothing" if demonstrations is None else "empty")
    return row


def _read_demonstrations(row: CheckedRow, value: Any, column: str) -> Iterator[tuple[str, str]]:
    """Fills in the demonstrations of a row; kind and note of what was found."""
    candidates = value if isinstance(value, list) and not has_turns(value) else [value]
    if not any(map(has_turns, candidates)):
        candidates = [value]
    for candidate in candidates:
        faults = list(turn_faults(candidate)) if has_turns(candidate) else []
        yield from ((kind, f"column '{column}', {note}") for kind, note in faults)
        try:
            if not has_turns(candidate):
                row.demonstrations += parse_demonstrations(candidate, row.number, column)
                continue
            trajectory = parse_trajectory(candidate, row.number, column)
        except ValueError as error:
            if not faults:
                yield "demonstration_unusable", str(error).partition(": ")[2]
            continue
        row.trajectories[len(row.demonstrations)] = trajectory
        row.demonstrations.append({"role": "assistant", "content": spoken_text(trajectory)})
