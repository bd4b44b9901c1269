"""Gold answers that cannot be read, and demonstrations that end in another answer."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Protocol

from prefix_rft_trl.rewards.answers import MARKERS, find_final_answer
from prefix_rft_trl.rewards.verification.equivalence import Verdict

from .findings import Finding, Row
from .texts import excerpt, numbered


class AnswerVerifier(Protocol):
    """What is needed of [`~prefix_rft_trl.rewards.verification.verifier.Verifier`]."""

    def verify(
        self, pairs: Sequence[tuple[str | None, tuple[str, ...]]], progress: str | None = None
    ) -> Sequence[Verdict]: ...

    def unreadable(self, golds: Sequence[tuple[str, ...]], progress: str | None = None) -> list[bool]: ...


class AnswerCheck:
    """Collects answers row by row, and verifies all of them at the end."""

    def __init__(self, verifier: AnswerVerifier, markers: tuple[str, ...] = MARKERS) -> None:
        self._verifier = verifier
        self._markers = markers
        self._golds: list[tuple[int, tuple[str, ...]]] = []
        self._stated: list[tuple[int, str, str, tuple[str, ...]]] = []
        self.readable = 0
        self.stated = 0

    def read(self, row: Row) -> Iterator[Finding]:
        if row.golds:
            self._golds.append((row.number, row.golds))
        several = len(row.demonstrations)
        for number, message in enumerate(row.demonstrations, 1):
            name = numbered("demonstration", number, several)
            answer = find_final_answer(message["content"], self._markers)
            if answer is None:
                yield Finding("answer_missing", row.number, f"{name} ends: {_end_of(message['content'])}")
                continue
            self.stated += 1
            if not arrives_at(message["content"][: answer.start], answer.text):
                note = f"{name} ends in {excerpt(answer.text, 40)!r}: {_end_of(message['content'][: answer.start])}"
                yield Finding("answer_unworked", row.number, note)
            if row.golds:
                self._stated.append((row.number, name, answer.text, row.golds))

    def finish(self) -> Iterator[Finding]:
        unreadable = self._verifier.unreadable([golds for _, golds in self._golds], progress="Reading gold answers")
        lost = {row: golds for (row, golds), is_lost in zip(self._golds, unreadable, strict=True) if is_lost}
        self.readable = len(self._golds) - len(lost)
        for row, golds in lost.items():
            yield Finding("gold_unreadable", row, f"found {excerpt(', '.join(golds))!r}")
        stated = [found for found in self._stated if found[0] not in lost]
        pairs = [(answer, golds) for _, _, answer, golds in stated]
        verdicts = self._verifier.verify(pairs, progress="Verifying demonstrations")
        for (row, name, answer, golds), verdict in zip(stated, verdicts, strict=True):
            note = f"{name} ends in {excerpt(answer, 40)!r}, gold is {excerpt(' or '.join(golds), 40)!r}"
            if verdict is Verdict.DIFFERENT:
                yield Finding("answer_disagrees", row, note)
            elif verdict is not Verdict.EQUAL:
                yield Finding("answer_unverified", row, f"{note} ({verdict.name.lower()})")


def _end_of(text: str) -> str:
    line = " ".join(text[-400:].split())
    return line if len(line) <= 60 else f"…{line[-59:]}"


_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")

_SPACED_NUMBER = re.compile(r"\d{1,3}(?: \d{3})+(?!\d)")

_PLAIN_NUMBER = re.compile(r"[-+]?\$?(\d[\d,]*(?:\.\d+)?)")


def arrives_at(working: str, answer: str) -> bool:
    """Whether the number stands somewhere in the working.

    True as well where nothing can be said: of an answer that is no plain number, and of working without numbers.
    """
    stated = _PLAIN_NUMBER.fullmatch(answer.strip())
    numbers = {_value(found) for found in _numbers_in(working)} if stated else set()
    return not stated or not numbers or _value(stated.group(1)) in numbers


def _numbers_in(text: str) -> list[str]:
    return _NUMBER.findall(text) + _SPACED_NUMBER.findall(text)


def _value(digits: str) -> Decimal:
    return Decimal(digits.replace(",", "").replace(" ", ""))
