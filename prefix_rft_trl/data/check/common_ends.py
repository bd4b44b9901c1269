"""Find the instruction around the problems of a dataset: the beginning and the end that most texts share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prefix_rft_trl.utils.shared_start import shared_start


MIN_TEXTS = 8  # of fewer, the shared part may be the problem itself
MOST_LINES = 10  # of an instruction, where it is not all that is shared


@dataclass(frozen=True)
class CommonEnds:
    """The beginning and the end of most texts, cut at white space.

    Attributes:
        prefix, suffix (`str`): empty if there is none.
    """

    prefix: str = ""
    suffix: str = ""

    def without_them(self, text: str) -> set[str]:
        """The text as it is, and without the shared parts.

        Where all problems have one form, the instruction is only the first or the last lines of what they share: the
        text is cut at each of these lines, up to `MOST_LINES` at either end, and at the end of the shared part.
        """
        shared = shared_start(text, self.prefix)
        cuts = [cut.end() for cut in re.finditer("\n", shared)]
        starts = {0, len(shared) if shared == self.prefix else 0, *cuts[:MOST_LINES]}
        shared = shared_start(text[::-1], self.suffix[::-1])[::-1]
        cuts = [len(shared) - cut.start() for cut in re.finditer("\n", shared)]
        ends = {0, len(_from_white_space(shared)), *cuts[-MOST_LINES:]}
        return {text[start : len(text) - end] for start in starts for end in ends if start + end < len(text)} | {text}


def common_ends(texts: Sequence[str]) -> CommonEnds:
    """The longest beginning and the longest end, of complete words, that at least half of the distinct texts have."""
    distinct = sorted(set(texts))
    if len(distinct) < MIN_TEXTS:
        return CommonEnds()
    reversed_prefix = _shared_by_half(distinct)[::-1]
    suffix = _shared_by_half(sorted(text[::-1] for text in distinct))[::-1]
    return CommonEnds(_from_white_space(reversed_prefix)[::-1], _from_white_space(suffix))


def _shared_by_half(texts: list[str]) -> str:
    """The longest beginning that half of the sorted texts share: sorting puts those that share one side by side."""
    half = (len(texts) + 1) // 2
    pairs = zip(texts, texts[half - 1 :], strict=False)
    return max((shared_start(first, last) for first, last in pairs), key=len)


def _from_white_space(text: str) -> str:
    """The text from its first white space on."""
    found = re.search(r"\s", text)
    return text[found.start() :] if found else ""
