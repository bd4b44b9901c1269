"""Check that gold answers can be read, and that demonstrations end in them, in the form that the prompt asks for."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from prefix_rft_trl.data.answer_forms import BOX, asked_forms, ends_otherwise, name_forms, stated_forms
from prefix_rft_trl.data.texts import excerpt, last_words
from prefix_rft_trl.rewards.answers import MARKERS, find_final_answer
from prefix_rft_trl.rewards.verification.equivalence import Verdict

from .checked_rows import CheckedRow, RowCheck
from .findings import Finding


if TYPE_CHECKING:
    from prefix_rft_trl.rewards.verification.verifier import Verifier


class AnswerCheck(RowCheck):
    """Collects answers row by row, and verifies all of them at the end.

    Attributes:
        readable (`int`): rows whose gold can be read, known at the end.
        stated (`int`): demonstrations that state a final answer.
    """

    def __init__(self, verifier: "Verifier", markers: tuple[str, ...] = MARKERS) -> None:
        self._verifier = verifier
        self._markers = markers
        self._golds: dict[int, tuple[str, ...]] = {}
        self._answers: list[tuple[int, str, str]] = []
        self.readable = 0
        self.stated = 0

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        if row.golds:
            self._golds[row.number] = row.golds
        for name, before, text in row.named_answers():
            answer = find_final_answer(text, self._markers)
            if answer is None:
                yield Finding("answer_missing", row.number, f"{name} ends: {last_words(text)}")
                continue
            self.stated += 1
            working = f"{before}\n{text[: answer.start]}"
            if not arrives_at(working, answer.text):
                note = f"{name} ends in {excerpt(answer.text, 40)!r}: {last_words(working)}"
                yield Finding("answer_unworked", row.number, note)
            if row.golds:
                self._answers.append((row.number, name, answer.text))

    def finish(self) -> Iterator[Finding]:
        unreadable = self._verifier.unreadable(list(self._golds.values()), progress="Reading gold answers")
        for (row, golds), is_unreadable in zip(list(self._golds.items()), unreadable, strict=True):
            if is_unreadable:
                yield Finding("gold_unreadable", row, f"found {excerpt(', '.join(golds))!r}")
                del self._golds[row]
        in_part = self._verifier.read_in_part(list(self._golds.values()), progress="Reading gold answers whole")
        for (row, golds), is_in_part in zip(self._golds.items(), in_part, strict=True):
            if is_in_part:
                yield Finding("gold_read_in_part", row, f"found {excerpt(', '.join(golds))!r}")
        self.readable = len(self._golds)
        answers = [(row, name, answer, self._golds[row]) for row, name, answer in self._answers if row in self._golds]
        pairs = [(answer, golds) for *_, answer, golds in answers]
        verdicts = self._verifier.verify(pairs, progress="Verifying demonstrations")
        for (row, name, answer, golds), verdict in zip(answers, verdicts, strict=True):
            note = f"{name} ends in {excerpt(answer, 40)!r}, gold is {excerpt(' or '.join(golds), 40)!r}"
            if verdict is Verdict.DIFFERENT:
                yield Finding("answer_disagrees", row, note)
            elif verdict is not Verdict.EQUAL:
                yield Finding("answer_unverified", row, f"{note} ({verdict.name.lower()})")


class AnswerFormCheck(RowCheck):
    """Compares the form that a prompt asks for with those that its demonstrations have.

    Args:
        instruction (`str`, *optional*): text that a run appends to each prompt.
    """

    def __init__(self, instruction: str | None = None) -> None:
        self._of_instruction = asked_forms(instruction or "")
        self._asking = self._boxed = self._demonstrations = 0

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        asked = self._of_instruction | asked_forms(row.prompt or "")
        self._asking += bool(asked)
        for name, _, text in row.named_answers():
            self._demonstrations += 1
            self._boxed += BOX in stated_forms(text)
            if ends_otherwise(asked, text):
                note = f"the prompt asks for {name_forms(asked)}, and the {name} ends: {last_words(text)}"
                yield Finding("answer_form", row.number, note)

    @property
    def is_unasked_box(self) -> bool:
        """Whether most demonstrations have a box, and no prompt asks for any form."""
        return not self._asking and 2 * self._boxed > self._demonstrations


_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
_SPACED_NUMBER = re.compile(r"\d{1,3}(?: \d{3})+(?!\d)")
_PLAIN_NUMBER = re.compile(r"[-+]?\$?(\d[\d,]*(?:\.\d+)?)")


def arrives_at(working: str, answer: str) -> bool:
    """Whether a final number occurs in the working.

    True as well where that cannot be decided: for an answer that is not a plain number, and working without numbers.
    """
    stated = _PLAIN_NUMBER.fullmatch(answer.strip())
    if not stated:
        return True
    numbers = {_value(digits) for digits in _NUMBER.findall(working) + _SPACED_NUMBER.findall(working)}
    return not numbers or _value(stated.group(1)) in numbers


def _value(digits: str) -> Decimal:
    return Decimal(digits.replace(",", "").replace(" ", ""))
