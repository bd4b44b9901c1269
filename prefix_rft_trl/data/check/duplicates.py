"""Find prompts that an earlier row has, and repeated prompts whose golds conflict."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prefix_rft_trl.data.texts import excerpt, problem_text
from prefix_rft_trl.rewards.verification.equivalence import Verdict

from .checked_rows import CheckedRow, RowCheck
from .findings import Finding


if TYPE_CHECKING:
    from prefix_rft_trl.rewards.verification.verifier import Verifier


class DuplicateCheck(RowCheck):
    """Compares the prompt of each row with those of all earlier rows, whatever their white space and case."""

    def __init__(self, verifier: "Verifier") -> None:
        self._verifier = verifier
        self._first: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._doubtful: list[tuple[Finding, int, tuple[str, ...], tuple[str, ...]]] = []

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        if row.prompt is None:
            return
        text = problem_text(row.prompt)
        first, golds = self._first.setdefault(" ".join(text.split()).casefold(), (row.number, row.golds))
        if first == row.number:
            return
        finding = Finding("duplicate", row.number, f"as row {first}: {excerpt(text)}")
        if golds and row.golds and not set(golds) & set(row.golds):
            self._doubtful.append((finding, first, golds, row.golds))
        else:
            yield finding

    def finish(self) -> Iterator[Finding]:
        """The pairs whose golds are written differently, compared by the verifier."""
        verdicts = self._verifier.verify([(own[0], golds) for *_, golds, own in self._doubtful])
        for (finding, first, golds, own), verdict in zip(self._doubtful, verdicts, strict=True):
            if verdict is Verdict.DIFFERENT:
                note = f"as row {first}, where the gold is {excerpt(golds[0], 30)!r}, here {excerpt(own[0], 30)!r}"
                yield Finding("conflicting_gold", finding.row, note)
            else:
                yield finding
