"""Problems of benchmarks in a dataset: the whole problem, or 13 words in a row of it.

As in the usual analyses, 13 words that more than 10 rows have are a phrase of the genre and no overlap, unless the row
has at least half of the problem.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefix_rft_trl.data.benchmarks import Problem

from .common_ends import CommonEnds, common_ends
from .findings import Finding
from .ngrams import LENGTH, NgramIndex
from .rows import Row
from .texts import excerpt, numbered, problem_text


MOST_ROWS_OF_A_RUN = 10
SHARE_OF_THE_SAME_PROBLEM = 0.5


def same_text(text: str) -> str:
    """A text without differences of white space, case and dollar signs."""
    return "".join(text.split()).replace("$", "").casefold()


@dataclass(frozen=True)
class _Shared:
    row: int
    place: str
    problem: int
    runs: frozenset[str]


class OverlapCheck:
    """Looks for problems of benchmarks in the prompts and demonstrations of a dataset.

    Args:
        benchmarks (`Mapping[str, Sequence[Problem]]`): their problems by their names.
        ends (`CommonEnds`): what the dataset's prompts have before and after the problem.
    """

    def __init__(self, benchmarks: Mapping[str, Sequence[Problem]], ends: CommonEnds | None = None) -> None:
        self._ends = ends or CommonEnds()
        self._names: list[str] = []
        self._by_text: dict[str, int] = {}
        bare: list[str] = []
        for name, problems in benchmarks.items():
            own_ends = common_ends([problem.text for problem in problems])
            for number, problem in enumerate(problems):
                texts = own_ends.without_them(problem.text)
                for text in texts:
                    self._by_text.setdefault(same_text(text), len(bare))
                self._names.append(f"{name} {number}")
                bare.append(min(texts, key=len))
        self._index = NgramIndex(bare)
        self._shared: list[_Shared] = []

    def read(self, row: Row) -> Iterator[Finding]:
        known: set[int] = set()
        if row.prompt is not None and self._names:
            text = problem_text(row.prompt)
            shared = self._index.shared(text)
            known = {problem for problem, runs in shared.items() if len(runs) == self._index.sizes[problem]}
            known |= self._with_the_text_of(text)
            for problem in sorted(known):
                yield Finding("benchmark_exact", row.number, f"{self._names[problem]}: {excerpt(text)}")
            known |= self._remember(row.number, "prompt", shared, known)
        for number, message in enumerate(row.demonstrations, 1):
            place = numbered("demonstration", number, len(row.demonstrations))
            known |= self._remember(row.number, place, self._index.shared(message["content"]), known)

    def finish(self) -> Iterator[Finding]:
        """What is shared, now that it is known which runs of words many rows have."""
        rows_with = Counter(run for _, run in {(found.row, run) for found in self._shared for run in found.runs})
        for found in self._shared:
            rare = {run for run in found.runs if rows_with[run] <= MOST_ROWS_OF_A_RUN}
            size = self._index.sizes[found.problem]
            is_same = len(found.runs) >= SHARE_OF_THE_SAME_PROBLEM * size
            kind = "benchmark_overlap" if rare or is_same else "benchmark_phrase"
            note = (
                f"{found.place} has {len(found.runs)} of the {size} runs of {LENGTH} words of "
                f"{self._names[found.problem]}: {min(rare or found.runs)}"
            )
            yield Finding(kind, found.row, note)

    def _with_the_text_of(self, prompt: str) -> set[int]:
        """Problems that are the prompt without what most prompts have around them: all that finds short ones."""
        found = (self._by_text.get(same_text(text)) for text in self._ends.without_them(prompt))
        return {problem for problem in found if problem is not None}

    def _remember(self, row: int, place: str, shared: dict[int, set[str]], known: set[int]) -> set[int]:
        new = {problem: runs for problem, runs in shared.items() if problem not in known}
        self._shared += [_Shared(row, place, problem, frozenset(runs)) for problem, runs in new.items()]
        return set(new)
