"""What was found in a dataset, all of it, and what follows."""

from dataclasses import asdict, dataclass, field
from typing import Any

from .findings import KINDS, Finding
from .lengths import Lengths


CLEAN, PROBLEMS, UNUSABLE = 0, 1, 2


@dataclass
class Report:
    """What was found in a dataset.

    Attributes:
        rows (`int`): all of them.
        demonstrations (`int`): of all rows.
        findings (`dict[str, list[Finding]]`): by kind, each in the order of the rows.
        unchecked (`dict[str, str]`): kinds that were not looked for, and why.
        unit (`str`): what lengths are counted in.
        lengths (`dict[str, Lengths]`): of `prompts` and `demonstrations`.
        benchmarks (`dict[str, int]`): number of problems of each benchmark that was compared with.
        notes (`list[str]`): what else is worth knowing.
        unusable (`list[str]`): why the dataset cannot be trained on; empty if it can.
    """

    rows: int
    demonstrations: int = 0
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)
    unit: str = "characters"
    lengths: dict[str, Lengths] = field(default_factory=dict)
    benchmarks: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)

    def rows_with(self, kind: str) -> list[int]:
        """The rows with a finding of a kind, each once."""
        return list(dict.fromkeys(finding.row for finding in self.findings.get(kind, [])))

    @property
    def problems(self) -> list[str]:
        """The kinds that were found and are problems."""
        return [kind for kind, about in KINDS.items() if about.is_problem and self.findings.get(kind)]

    @property
    def exit_code(self) -> int:
        """0 clean, 1 problems, 2 unusable."""
        if self.unusable:
            return UNUSABLE
        return PROBLEMS if self.problems else CLEAN

    def to_json(self) -> dict[str, Any]:
        """Everything, with all row numbers, for `json.dump`."""
        return {
            "exit_code": self.exit_code,
            "unusable": self.unusable,
            "rows": self.rows,
            "demonstrations": self.demonstrations,
            "findings": {kind: self._kind_to_json(kind) for kind in KINDS},
            "lengths": {"unit": self.unit, **{name: asdict(found) for name, found in self.lengths.items()}},
            "benchmarks": self.benchmarks,
            "notes": self.notes,
        }

    def _kind_to_json(self, kind: str) -> dict[str, Any]:
        about = KINDS[kind]
        return {
            "title": about.title,
            "is_problem": about.is_problem,
            "unchecked": self.unchecked.get(kind),
            "rows": self.rows_with(kind),
            "notes": [{"row": finding.row, "note": finding.note} for finding in self.findings.get(kind, [])],
        }
