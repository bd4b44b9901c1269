"""Find problems of benchmarks in a dataset: a complete problem, or 13 words in a row of it.

As in the usual analyses, 13 words that more than 10 rows have are a phrase of the genre and no overlap, unless the row
has at least half of the problem.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefix_rft_trl.data.benchmarks import BenchmarkProblem
from prefix_rft_trl.data.texts import excerpt, problem_text

from .checked_rows import CheckedRow, RowCheck
from .common_ends import CommonEnds, common_ends
from .findings import Finding


RUN_LENGTH = 13
MAX_ROWS_OF_OVERLAP = 10  # more rows with the same run make it a phrase
SAME_PROBLEM_SHARE = 0.5

_SEED = RUN_LENGTH // 2 + 1  # any 13 words that a text shares contain 7 that start at a multiple of 7
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class _SharedRuns:
    row: int
    place: str
    problem: int
    runs: frozenset[str]


class OverlapCheck(RowCheck):
    """Looks for problems of benchmarks in a dataset whose prompts have common ends around the problem."""

    def __init__(self, benchmarks: Mapping[str, Sequence[BenchmarkProblem]], ends: CommonEnds | None = None) -> None:
        self._ends = ends or CommonEnds()
        self._names: list[str] = []
        self._by_text: dict[str, int] = {}
        bare: list[str] = []
        for name, problems in benchmarks.items():
            own_ends = common_ends([problem.text for problem in problems])
            for number, problem in enumerate(problems):
                texts = own_ends.without_them(problem.text)
                for text in texts:
                    self._by_text.setdefault(_normalized(text), len(bare))
                self._names.append(f"{name} {number}")
                bare.append(min(texts, key=len))
        self._index = NgramIndex(bare)
        self._shared: list[_SharedRuns] = []

    def read(self, row: CheckedRow) -> Iterator[Finding]:
        known: set[int] = set()
        if row.prompt is not None and self._names:
            text = problem_text(row.prompt)
            shared = self._index.shared(text)
            known = {problem for problem, runs in shared.items() if len(runs) == self._index.sizes[problem]}
            known |= self._equal_problems(text)
            for problem in sorted(known):
                yield Finding("benchmark_exact", row.number, f"{self._names[problem]}: {excerpt(text)}")
            known |= self._remember(row.number, "prompt", shared, known)
        for name, message in row.named_demonstrations():
            known |= self._remember(row.number, name, self._index.shared(message["content"]), known)

    def finish(self) -> Iterator[Finding]:
        """The shared runs, now that it is known which of them many rows have."""
        rows_with = Counter(run for _, run in {(found.row, run) for found in self._shared for run in found.runs})
        for found in self._shared:
            rare = {run for run in found.runs if rows_with[run] <= MAX_ROWS_OF_OVERLAP}
            size = self._index.sizes[found.problem]
            is_same_problem = len(found.runs) >= SAME_PROBLEM_SHARE * size
            kind = "benchmark_overlap" if rare or is_same_problem else "benchmark_phrase"
            note = (
                f"{found.place} has {len(found.runs)} of the {size} runs of {RUN_LENGTH} words of "
                f"{self._names[found.problem]}: {min(rare or found.runs)}"
            )
            yield Finding(kind, found.row, note)

    def _equal_problems(self, prompt: str) -> set[int]:
        """Problems that equal the prompt without its common ends, the only way to find those below 13 words."""
        found = (self._by_text.get(_normalized(text)) for text in self._ends.without_them(prompt))
        return {problem for problem in found if problem is not None}

    def _remember(self, row: int, place: str, shared: dict[int, set[str]], known: set[int]) -> set[int]:
        new = {problem: runs for problem, runs in shared.items() if problem not in known}
        self._shared += [_SharedRuns(row, place, problem, frozenset(runs)) for problem, runs in new.items()]
        return set(new)


def _normalized(text: str) -> str:
    """A text without differences of white space, case and dollar signs."""
    return "".join(text.split()).replace("$", "").casefold()


class NgramIndex:
    """Index of the runs of 13 words of texts, by their numbers; texts of fewer words are never found."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts_with: dict[str, set[int]] = defaultdict(set)
        self._seeds: set[str] = set()
        self.sizes: list[int] = []
        for number, text in enumerate(texts):
            words = _words(text)
            runs = set(_runs(words, RUN_LENGTH))
            for run in runs:
                self._texts_with[run].add(number)
            self._seeds.update(_runs(words, _SEED) if runs else ())
            self.sizes.append(len(runs))

    def shared(self, text: str) -> dict[int, set[str]]:
        """The runs that a text shares with each indexed text, by its number."""
        words = _words(text)
        found: dict[int, set[str]] = {}
        for seed in range(0, len(words) - _SEED + 1, _SEED):
            if " ".join(words[seed : seed + _SEED]) not in self._seeds:
                continue
            for start in range(max(0, seed - _SEED + 1), min(seed, len(words) - RUN_LENGTH) + 1):
                run = " ".join(words[start : start + RUN_LENGTH])
                for number in self._texts_with.get(run, ()):
                    found.setdefault(number, set()).add(run)
        return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _runs(words: list[str], length: int) -> list[str]:
    return [" ".join(words[start : start + length]) for start in range(len(words) - length + 1)]
