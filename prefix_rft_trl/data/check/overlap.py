"""Problems of benchmarks in a dataset: the whole problem, or 13 words in a row of it.

As in the usual analyses, 13 words that more than 10 rows have are a phrase of the genre and no overlap, unless the row
has at least half of the problem.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefix_rft_trl.data.benchmarks import Problem

from .findings import Finding, Row
from .texts import excerpt, numbered, problem_text


@dataclass(frozen=True)
class CommonEnds:
    """What most texts begin and end with, cut at white space.

    Attributes:
        prefix, suffix (`str`): empty if there is none.
    """

    prefix: str = ""
    suffix: str = ""

    def without_them(self, text: str) -> set[str]:
        """The text as it is, and without what it shares of them.

        Where all problems are of one form, an instruction is only the last lines of what they share, or the first:
        the text is cut at each line of it, and at its end.
        """
        shared = _shared_beginning(text, self.prefix)
        starts = {
            0,
            len(shared) if shared == self.prefix else 0,
            *(found.end() for found in re.finditer("\n", shared)),
        }
        shared = _shared_beginning(text[::-1], self.suffix[::-1])[::-1]
        ends = {0, _from_white_space(shared), *(len(shared) - found.start() for found in re.finditer("\n", shared))}
        return {text[start : len(text) - end] for start in starts for end in ends if start + end < len(text)} | {text}


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


FEWEST_TEXTS = 8  # of less, what most have in common may be the problem itself


def common_ends(texts: Sequence[str]) -> CommonEnds:
    """The longest beginning and the longest end, of whole words, that at least half of the texts have.

    Args:
        texts (`Sequence[str]`): equal ones count once.
    """
    distinct = sorted(set(texts))
    if len(distinct) < FEWEST_TEXTS:
        return CommonEnds()
    reversed_prefix = _shared_by_half(distinct)[::-1]
    suffix = _shared_by_half(sorted(text[::-1] for text in distinct))[::-1]
    return CommonEnds(
        reversed_prefix[len(reversed_prefix) - _from_white_space(reversed_prefix) :][::-1],
        suffix[len(suffix) - _from_white_space(suffix) :],
    )


def _shared_by_half(texts: list[str]) -> str:
    """The longest beginning that half of the sorted texts share: those that share one stand side by side."""
    half = (len(texts) + 1) // 2
    pairs = zip(texts, texts[half - 1 :], strict=False)
    return max((_shared_beginning(first, last) for first, last in pairs), key=len)


def _shared_beginning(first: str, second: str) -> str:
    differing = (place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    return first[: next(differing, min(len(first), len(second)))]


def _from_white_space(text: str) -> int:
    """How many characters there are from the first white space on."""
    found = re.search(r"\s", text)
    return len(text) - found.start() if found else 0


LENGTH = 13


_SEED = LENGTH // 2 + 1  # whatever 13 words a text shares, they hold 7 that start at a multiple of 7


_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


class NgramIndex:
    """The runs of 13 words of some texts, which are known by their numbers.

    Args:
        texts (`Sequence[str]`): those of fewer than 13 words are never found.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts_with: dict[str, set[int]] = defaultdict(set)
        self._seeds: set[str] = set()
        self.sizes: list[int] = []
        for number, text in enumerate(texts):
            words = words_of(text)
            runs = set(_runs(words, LENGTH))
            for run in runs:
                self._texts_with[run].add(number)
            self._seeds.update(_runs(words, _SEED) if runs else ())
            self.sizes.append(len(runs))

    def shared(self, text: str) -> dict[int, set[str]]:
        """The runs that a text shares with each text of the index, by its number."""
        words = words_of(text)
        found: dict[int, set[str]] = {}
        for seed in range(0, len(words) - _SEED + 1, _SEED):
            if " ".join(words[seed : seed + _SEED]) not in self._seeds:
                continue
            for start in range(max(0, seed - _SEED + 1), min(seed, len(words) - LENGTH) + 1):
                run = " ".join(words[start : start + LENGTH])
                for number in self._texts_with.get(run, ()):
                    found.setdefault(number, set()).add(run)
        return found


def _runs(words: list[str], length: int) -> list[str]:
    return [" ".join(words[start : start + length]) for start in range(len(words) - length + 1)]
