"""Prompts that come more than once."""

from collections.abc import Iterator

from prefix_rft_trl.rewards.verification.equivalence import Verdict

from .answer_checks import AnswerVerifier
from .findings import Finding
from .rows import Row
from .texts import excerpt, problem_text


def normalized(text: str) -> str:
    """A text without differences of white space and case."""
    return " ".join(text.split()).casefold()


class DuplicateCheck:
    """Compares the prompt of each row with those of all rows before it."""

    def __init__(self, verifier: AnswerVerifier) -> None:
        self._verifier = verifier
        self._first: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._doubtful: list[tuple[Finding, int, tuple[str, ...], tuple[str, ...]]] = []

    def read(self, row: Row) -> Iterator[Finding]:
        if row.prompt is None:
            return
        text = problem_text(row.prompt)
        first, golds = self._first.setdefault(normalized(text), (row.number, row.golds))
        if first == row.number:
            return
        finding = Finding("duplicate", row.number, f"as row {first}: {excerpt(text)}")
        if golds and row.golds and not set(golds) & set(row.golds):
            self._doubtful.append((finding, first, golds, row.golds))
        else:
            yield finding

    def finish(self) -> Iterator[Finding]:
        """The pairs whose golds are written differently: are they different?"""
        verdicts = self._verifier.verify([(own[0], golds) for _, _, golds, own in self._doubtful])
        for (finding, first, golds, own), verdict in zip(self._doubtful, verdicts, strict=True):
            if verdict is Verdict.DIFFERENT:
                note = f"as row {first}, where the gold is {excerpt(golds[0], 30)!r}, here {excerpt(own[0], 30)!r}"
                yield Finding("conflicting_gold", finding.row, note)
            else:
                yield finding
