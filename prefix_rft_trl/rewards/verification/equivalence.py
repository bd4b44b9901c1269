"""Judge whether an answer equals one of the right ones, through Math-Verify; runs in a worker process."""

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from .answer_comparison import are_equal_answers, is_read_whole
from .magnitude import TooLarge
from .normal_form import normal_form, plain_number, words


LONGEST = 2_000  # characters; the longest right answer of the usual benchmarks has 204
DEEPEST = 40  # nested brackets
MOST_GOLD_WORDS = 6

_BRACKETS = re.compile(r"\\[{}]|[{}()\[\]]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_BASE_SUFFIX = re.compile(r"^-?[\dA-Fa-f]+_\{?(\d+)\}?$")


class Verdict(StrEnum):
    """The result of verifying an answer.

    `REFUSED`: too long, too deep or too large to compute with. `TIMEOUT`: took longer than the time limit. `CRASHED`:
    its worker died. None of the three counts as right. `READ_IN_PART`: see `HOW_IS_IT_READ`.
    """

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE_GOLD = "unreadable_gold"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    CRASHED = "crashed"
    READ_IN_PART = "read_in_part"


HOW_IS_IT_READ = "\0"  # in place of an answer: asks whether a right answer is read whole, or compared as text


def settle(answer: str, golds: Sequence[str]) -> Verdict | None:
    """The verdict if it takes no algebra, else `None`.

    Settled are whole numbers on both sides, the same number on both sides, and a missing answer to a numeric question.
    """
    right = [plain_number(normal_form(gold)) if len(gold) <= LONGEST else None for gold in golds]
    if not answer and any(number is not None for number in right):
        return Verdict.DIFFERENT
    found = plain_number(normal_form(answer)) if len(answer) <= LONGEST else None
    if found is None:
        return None
    if found in right:
        return Verdict.EQUAL
    all_whole = all(number is not None and number.denominator == 1 for number in [found, *right])
    return Verdict.DIFFERENT if all_whole else None


def judge(answer: str, golds: Sequence[str]) -> Verdict:
    """Judge whether an answer equals one of the right ones.

    Args:
        answer (`str`): a response's final answer, without its box.
        golds (`Sequence[str]`): the right answers; unreadable ones are skipped.

    Returns:
        `Verdict`: `EQUAL`, `DIFFERENT`, `REFUSED`, or `UNREADABLE_GOLD` if none of `golds` can be read.
    """
    readable = [gold for gold in golds if is_readable(gold)]
    if not readable:
        return Verdict.UNREADABLE_GOLD
    try:
        if answer == HOW_IS_IT_READ:
            are_whole = all(is_read_whole(normal_form(gold)) for gold in readable)
            return Verdict.DIFFERENT if are_whole else Verdict.READ_IN_PART
        return Verdict.EQUAL if any(_are_equal(gold, answer) for gold in readable) else Verdict.DIFFERENT
    except TooLarge:
        return Verdict.REFUSED


@lru_cache(maxsize=4096)
def is_readable(gold: str) -> bool:
    """Whether a right answer can be compared with: a number, word or expression, not prose or a broken formula."""
    if len(gold) > LONGEST:
        return False
    text = normal_form(gold)
    if not re.search(r"\w|\\", text) or _depth(text) is None:
        return False
    if r"\begin{cases}" not in text and len(_WORD.findall(_COMMAND.sub(" ", text))) > MOST_GOLD_WORDS:
        return False
    if plain_number(text) is not None or words(text) is not None:
        return True
    if re.search(r"\w", _COMMAND.sub(" ", text)):
        return True  # what cannot be read as a formula is compared as text
    try:
        return is_read_whole(text)
    except TooLarge:  # an answer written in the same way can still be recognised
        return True


def _are_equal(gold: str, answer: str) -> bool:
    if len(answer) > LONGEST:
        raise TooLarge(f"{len(answer)} characters")
    right, found = normal_form(gold), normal_form(answer)
    if right == found:
        return True
    if (_depth(found) or 0) > DEEPEST:
        raise TooLarge(f"brackets nested more than {DEEPEST} deep")
    bases = _base(right), _base(found)
    if bases[0] and bases[1] and bases[0] != bases[1]:
        return False
    if bases[0] and not bases[1]:  # which may be understood
        right = right.partition("_")[0]
    return are_equal_answers(right, found)


def _base(text: str) -> str | None:
    written = _BASE_SUFFIX.match(text)
    return written.group(1) if written else None


def _depth(text: str) -> int | None:
    """The nesting depth of the brackets; `None` if the braces do not match."""
    depth = deepest = braces = 0
    for bracket in _BRACKETS.findall(text):
        is_opening = bracket[-1] in "{(["
        depth += 1 if is_opening else -1
        deepest = max(deepest, depth)
        if bracket in "{}":
            braces += 1 if is_opening else -1
            if braces < 0:
                return None
    return deepest if braces == 0 else None
