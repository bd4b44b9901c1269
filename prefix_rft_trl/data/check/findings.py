"""What can be found in a row, which of it is a problem, and what to do about it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prefix_rft_trl.method.demonstrations import Message, parse_demonstrations
from prefix_rft_trl.rewards.golds import acceptable_golds

from .texts import excerpt, prompt_fault


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        title (`str`): what is counted.
        advice (`str`): what it does to a run, or what to do.
        is_problem (`bool`): whether a dataset with it is not clean; the others are only reported.
    """

    title: str
    advice: str
    is_problem: bool = True


@dataclass(frozen=True)
class Finding:
    """Something in a row of the dataset; rows are counted from 0."""

    kind: str
    row: int
    note: str


KINDS = {
    "prompt_unusable": Kind(
        "prompt empty, or neither text nor messages", "The run stops at it, or trains on nothing. Leave the row out."
    ),
    "demonstration_unusable": Kind(
        "demonstration neither text nor one assistant message", "The trainer refuses the dataset. Mend the row."
    ),
    "no_demonstration": Kind(
        "no demonstration, or an empty one", "All rollouts of these rows are on-policy.", is_problem=False
    ),
    "several_demonstrations": Kind(
        "several demonstrations", "One of them is drawn for each hybrid rollout.", is_problem=False
    ),
    "gold_missing": Kind(
        "gold answer missing", "The reward of these rows is None: they cost rollouts, teach nothing."
    ),
    "gold_unreadable": Kind("gold answer that does not parse", "As above. Mend it, or take another reward."),
    "answer_disagrees": Kind(
        "demonstration's final answer is not the gold", "It is imitated for a wrong answer, or the gold is wrong."
    ),
    "answer_missing": Kind(
        "demonstration states no final answer",
        "Cut off, or in a form that the reward does not read (--answer_markers).",
    ),
    "answer_unverified": Kind(
        "demonstration's final answer cannot be compared in time", "The reward would count it as wrong."
    ),
    "answer_unworked": Kind(
        "demonstration's final number is nowhere in its working",
        "Another unit, a slip in the working, or a wrong gold. Look at each.",
        is_problem=False,
    ),
    "duplicate": Kind(
        "same prompt as an earlier row", "Leave one out, or make one row with a list of demonstrations."
    ),
    "conflicting_gold": Kind("same prompt as an earlier row, other gold", "One of the two golds is wrong."),
    "benchmark_exact": Kind("problem of a benchmark", "Scores on that benchmark mean nothing. Leave the row out."),
    "benchmark_overlap": Kind(
        "13 words in a row of a benchmark's problem", "Look at each: the same problem reworded, or a shared phrase."
    ),
    "benchmark_phrase": Kind(
        "13 words of a benchmark that more than 10 rows have",
        "Phrases of the genre; ignored as in the usual analyses.",
        is_problem=False,
    ),
    "template_token": Kind(
        "token of a chat template inside a text", "It reads as the end of a turn. Take the text without its template."
    ),
    "prompt_too_long": Kind("prompt does not fit", "Leave the row out, or raise the budget."),
    "demonstration_too_long": Kind(
        "demonstration does not fit", "It is cut (left out with whole demonstrations), and its end is never seen."
    ),
    "no_place_for_thinking": Kind(
        "demonstration's thinking has no place in the chat template", "The run stops at it."
    ),
}


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
