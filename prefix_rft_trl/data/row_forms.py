"""Recognise the form of a dataset's rows by their columns and values, and read prompt, demonstration and answer.

Known are TRL's prompt and completion, conversations (`messages`, or ShareGPT's `from` and `value`), Alpaca's columns,
problems with a solution and an answer, and questions whose answer is worked out as in GSM8K.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from prefix_rft_trl.rewards.answers import LONGEST_IN_TABLE, FinalAnswer, completion_text, find_final_answer

from .convert.rows import Message, without_separators


PROMPT_COLUMNS = ("prompt", "problem", "question", "instruction", "query", "input")
DEMONSTRATION_COLUMNS = (
    "completion", "solution", "output", "response", "demonstration", "worked_solution", "generated_solution",
    "rationale", "cot",
)  # fmt: skip
ANSWER_COLUMNS = ("answer", "final_answer", "expected_answer", "ground_truth", "gold_answer")
CONVERSATION_COLUMNS = ("messages", "conversations", "conversation")
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant"}
MARK = "####"

_EXAMPLES = 20  # first rows, of which each column gives its first value
_ALPACA_INPUT, _SYSTEM = "input", "system"
_FLAGS = {"prompt": "prompt_column", "demonstration": "demonstration_column"}


@dataclass(frozen=True)
class RowForm:
    """
    The columns that rows of a form hold their prompt, demonstration and answer in.

    Attributes:
        name (`str`): such as `"ShareGPT conversations"`.
        prompt (`str`): column of the prompts.
        demonstration (`str`, *optional*): column of the demonstrations; `None` if there is none.
        answer (`str`, *optional*): column of the right answers; `None` if there is none. Where it is that of the
            demonstrations, the answer is the one they state in a box, in answer tags or after `####`.
        context (`str`, *optional*): column whose text follows the prompt, or starts a conversation as its system
            message.
    """

    name: str
    prompt: str
    demonstration: str | None = None
    answer: str | None = None
    context: str | None = None

    def read(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as `prompt`, `completion` and `solution`; what it lacks is `None`."""
        demonstration = self._demonstration(row)
        answer = row.get(self.answer) if self.answer else None
        if self.answer is not None and self.answer == self.demonstration:
            answer = stated_solution(demonstration)
        return {"prompt": self._prompt(row), "completion": demonstration, "solution": answer}

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        named = (self.prompt, self.demonstration, self.answer, self.context)
        return list(dict.fromkeys(name for name in named if name is not None))

    def describe(self) -> str:
        """The form and its columns: `GSM8K: prompt from question, demonstration from answer, answer from its end`."""
        prompt = " and ".join(filter(None, [self.prompt, self.context]))
        demonstration = f"demonstration from {self.demonstration}" if self.demonstration else "no demonstration"
        roles = [f"prompt from {prompt}", demonstration]
        if self.prompt == self.demonstration:
            roles = [f"prompt and demonstration from {prompt}"]
        answer = "its end" if self.answer == self.demonstration else self.answer
        return f"{self.name}: {', '.join(roles)}, {f'answer from {answer}' if answer else 'no answer'}"

    def _prompt(self, row: Mapping[str, Any]) -> Any:
        prompt, context = row.get(self.prompt), row.get(self.context) if self.context else None
        is_text = isinstance(prompt, str) and isinstance(context, str) and context.strip()
        return f"{prompt}\n\n{context}" if is_text else prompt

    def _demonstration(self, row: Mapping[str, Any]) -> Any:
        return row.get(self.demonstration) if self.demonstration else None


class ConversationForm(RowForm):
    """Conversations in one column: the last assistant turn is the demonstration, what precedes it the prompt."""

    def _prompt(self, row: Mapping[str, Any]) -> list[Message]:
        messages = read_messages(row.get(self.prompt)) or []
        before = messages[: _last_turn(messages)]
        system = row.get(self.context) if self.context else None
        has_system = bool(before) and before[0]["role"] == "system"
        return before if has_system or not system else [{"role": "system", "content": system}, *before]

    def _demonstration(self, row: Mapping[str, Any]) -> list[Message]:
        messages = read_messages(row.get(self.prompt)) or []
        last = _last_turn(messages)
        return [] if last is None else [messages[last]]


def read_messages(value: Any) -> list[Message] | None:
    """Messages with `role` and `content` from those, from ShareGPT's `from` and `value`, or from JSON of either.

    `None` for any other value.
    """
    value = _turns(value)
    if value is None:
        return None
    if all(isinstance(item.get("role"), str) for item in value):
        return value
    if not all(isinstance(item.get("from"), str) and "value" in item for item in value):
        return None
    roles = [item["from"].strip().lower() for item in value]
    return [
        {"role": SPEAKERS.get(role, role), "content": item["value"] or ""}
        for role, item in zip(roles, value, strict=True)
    ]


def _turns(value: Any) -> list[dict[str, Any]] | None:
    """A list of objects, or one in JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    is_list = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    return value if is_list else None


def stated_solution(demonstration: Any) -> str | None:
    r"""The answer that a demonstration states in its last `\boxed{}`, in answer tags or after `####`."""
    found = _final_answer(demonstration)
    return without_separators(found.text) if found else None


def example_row(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A row with the first value of each column in the first rows."""
    example: dict[str, Any] = {}
    for row in islice(rows, _EXAMPLES):
        example |= {name: value for name, value in row.items() if example.get(name) in (None, "", [])}
    return example


def recognised_form(
    columns: Sequence[str], row: Mapping[str, Any], given: Mapping[str, str | None] | None = None
) -> RowForm | None:
    """
    The form of a dataset's rows; `None` if nothing in them looks like a prompt.

    Args:
        columns (`Sequence[str]`): of the dataset.
        row (`Mapping`): an example, as complete as possible.
        given (`Mapping`, *optional*): columns that the user has named, by role (`prompt`, `demonstration`, `answer`);
            `None` for a role that is not needed.

    Raises:
        ValueError: if several columns may hold the prompts or the demonstrations, naming them and the setting.
    """
    given, named = given or {}, _Columns(columns, row)
    prompts = [str(given["prompt"])] if given.get("prompt") else _prompt_columns(named)
    form = _flat_form(named, prompts[0], given) if len(prompts) == 1 else None
    if given.get("prompt") or (form and form.demonstration):
        return form
    if not given.get("demonstration"):
        form = _conversation(named, given, has_prompt=form is not None) or form
    if form is None and prompts:
        raise _ambiguous("prompt", prompts)
    return form


def _flat_form(named: "_Columns", prompt: str, given: Mapping[str, str | None]) -> RowForm:
    demonstration = given.get("demonstration")
    if demonstration is None:
        try:
            demonstration = _demonstration_column(named, prompt, given.get("answer"))
        except ValueError:
            if "demonstration" not in given:
                raise
    answer = given.get("answer") or _answer_column(named, demonstration)
    context = named.find(_ALPACA_INPUT) if prompt.lower() == "instruction" else None
    return RowForm(_name(prompt, demonstration, answer), prompt, demonstration, answer, context)


def _name(prompt: str, demonstration: str | None, answer: str | None) -> str:
    match prompt.lower(), (demonstration or "").lower():
        case "prompt", _:
            return "prompt and completion"
        case "instruction", _:
            return "Alpaca"
        case "question", "answer":
            return "GSM8K"
    other = demonstration or answer
    return f"{prompt} and {other}" if other else prompt


def _prompt_columns(named: "_Columns") -> list[str]:
    if prompt := named.find("prompt"):
        return [prompt]
    found = named.among(PROMPT_COLUMNS)
    return [name for name in found if name.lower() != _ALPACA_INPUT] or found


def _demonstration_column(named: "_Columns", prompt: str, given_answer: str | None) -> str | None:
    if completion := named.find("completion"):
        return completion
    found = [name for name in named.among(DEMONSTRATION_COLUMNS) if name != prompt]
    if (solution := named.find("solution")) in found and not named.is_worked_solution():
        found.remove(str(solution))
    if not found and (answer := named.find("answer")):  # of a question, as in GSM8K
        text = named.row.get(answer)
        if is_worked(text):
            return answer
        if answer != given_answer and isinstance(text, str) and len(text) > LONGEST_IN_TABLE:
            raise ValueError(
                f"the column '{answer}' may hold the demonstrations or the right answers. Set `demonstration_column` "
                "or `answer_column` to it."
            )
    if len(found) > 1:
        raise _ambiguous("demonstration", found)
    return found[0] if found else None


def _answer_column(named: "_Columns", demonstration: str | None) -> str | None:
    if (solution := named.find("solution")) and solution != demonstration:
        return solution
    found = [name for name in named.among(ANSWER_COLUMNS) if name != demonstration]
    if found:
        return found[0] if len(found) == 1 else None
    return demonstration if demonstration and _final_answer(named.row.get(demonstration)) else None


def _conversation(named: "_Columns", given: Mapping[str, str | None], has_prompt: bool) -> ConversationForm | None:
    row = named.row
    read = {name: read_messages(row.get(name)) or [] for name in named.names if name not in ("prompt", "completion")}
    found = [name for name, messages in read.items() if (_last_turn(messages) or 0) > 0]
    found = [name for name in found if name.lower() in CONVERSATION_COLUMNS] or found
    if len(found) > 1 and has_prompt and "demonstration" in given:
        return None  # none is needed
    if len(found) > 1:
        raise ValueError(
            f"the columns {_listed(found)} all hold conversations: it is open which to train on. Keep one of them."
        )
    if not found:
        return None
    column = found[0]
    name = "messages" if "role" in (_turns(row[column]) or [{}])[0] else "ShareGPT conversations"
    demonstration = ConversationForm(name, column, column).read(row)["completion"]
    answer = given.get("answer") or _answer_column(named, None) or (column if _final_answer(demonstration) else None)
    return ConversationForm(name, column, column, answer, named.find(_SYSTEM))


@dataclass(frozen=True)
class _Columns:
    """Columns of a dataset, found by name in any case, with an example row."""

    names: Sequence[str]
    row: Mapping[str, Any]

    def find(self, name: str) -> str | None:
        return next((column for column in self.names if column.lower() == name), None)

    def among(self, known: Sequence[str]) -> list[str]:
        return [column for column in map(self.find, known) if column is not None]

    def is_worked_solution(self) -> bool:
        """Whether the column `solution` holds worked solutions, and not bare answers as in this package's format."""
        solution = self.row.get(self.find("solution") or "")
        answers = [self.row.get(name) for name in self.among(ANSWER_COLUMNS)]
        is_longer = any(len(str(solution)) > len(str(answer)) for answer in answers if answer is not None)
        return isinstance(solution, str | list) and (is_longer or is_worked(solution))


def is_worked(text: Any) -> bool:
    """Whether a text states an answer in a box, in tags or after `####`, and has something in front of it."""
    found = _final_answer(text)
    return found is not None and bool(completion_text(text)[: found.start].strip().strip("$").strip())


def _final_answer(demonstration: Any) -> FinalAnswer | None:
    is_readable = isinstance(demonstration, str) or read_messages(demonstration)
    return find_final_answer(completion_text(demonstration), markers=(MARK,)) if is_readable else None


def _last_turn(messages: Sequence[Message]) -> int | None:
    """The place of the last assistant turn."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    return places[-1] if places else None


def _ambiguous(role: str, found: Sequence[str]) -> ValueError:
    return ValueError(f"the columns {_listed(found)} may all hold the {role}s. Set `{_FLAGS[role]}` to one of them.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
