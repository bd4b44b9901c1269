"""Whether an answer is one of the right ones: what a worker process does with it, through Math-Verify."""

import logging
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from .magnitude import TooLarge, refuse_too_high, refuse_too_large
from .normal_form import normal_form, plain_number, words
from .refutation import surely_differ


LONGEST = 2_000  # characters; the longest right answer of the usual benchmarks has 204
DEEPEST = 40  # brackets in brackets
MOST_WORDS_OF_A_GOLD = 6

_BRACKETS = re.compile(r"\\[{}]|[{}()\[\]]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_IN_A_BASE = re.compile(r"^-?[\dA-Fa-f]+_\{?(\d+)\}?$")
_LAST_SUMMAND = re.compile(r"([-+*/=])\s+([A-Za-z])$")
_NAME_OF_THE_UNKNOWN = re.compile(r"^[A-Za-z](?:_\{?[^{}=]*(?:\{[^{}]*\})?[^{}=]*\}?)?\s*=(?!=)")


class Verdict(StrEnum):
    """What became of an answer.

    `REFUSED` are answers that are too long, too deep or too large to be computed with, `TIMEOUT` those that took
    longer than the time limit, `CRASHED` those whose worker died. None of the three is right.
    """

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE_GOLD = "unreadable_gold"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    CRASHED = "crashed"


def settle(answer: str, golds: Sequence[str]) -> Verdict | None:
    """The verdict where it takes no algebra: all are whole numbers, two are the same number, or there is no answer to
    compare with a number; `None` elsewhere.
    """
    right = [plain_number(normal_form(gold)) if len(gold) <= LONGEST else None for gold in golds]
    if not answer and any(number is not None for number in right):
        return Verdict.DIFFERENT
    found = plain_number(normal_form(answer)) if len(answer) <= LONGEST else None
    if found is None:
        return None
    if found in right:
        return Verdict.EQUAL
    are_whole = all(number is not None and number.denominator == 1 for number in [found, *right])
    return Verdict.DIFFERENT if are_whole else None


def judge(answer: str, golds: Sequence[str]) -> Verdict:
    """Whether an answer is one of the right ones.

    Args:
        answer (`str`): a response's final answer, without its box.
        golds (`Sequence[str]`): the right answers; those that cannot be read are left out.

    Returns:
        `Verdict`: `EQUAL`, `DIFFERENT`, `REFUSED`, or `UNREADABLE_GOLD` if none of `golds` can be read.
    """
    readable = [gold for gold in golds if is_readable(gold)]
    if not readable:
        return Verdict.UNREADABLE_GOLD
    try:
        return Verdict.EQUAL if any(_are_equal(gold, answer) for gold in readable) else Verdict.DIFFERENT
    except TooLarge:
        return Verdict.REFUSED


@lru_cache(maxsize=4096)
def is_readable(gold: str) -> bool:
    """Whether a right answer can be compared with: a number, a word, an expression; not prose or a broken formula."""
    if len(gold) > LONGEST:
        return False
    text = normal_form(gold)
    if not re.search(r"\w|\\", text) or _depth(text) is None:
        return False
    if len(_WORD.findall(_COMMAND.sub(" ", text))) > MOST_WORDS_OF_A_GOLD:
        return False
    if plain_number(text) is not None or words(text) is not None:
        return True
    try:
        return bool(_parsed(text))
    except TooLarge:  # an answer in the same words is right, whatever it is worth
        return True


def _are_equal(gold: str, answer: str) -> bool:
    if len(answer) > LONGEST:
        raise TooLarge(f"{len(answer)} characters")
    right, found = normal_form(gold), normal_form(answer)
    if right == found:
        return True
    if (_depth(found) or 0) > DEEPEST:
        raise TooLarge(f"brackets more than {DEEPEST} deep")
    if words(right) is not None and words(found) is not None:
        return words(right) == words(found)  # as products of their letters, `east` would be `seat`
    if any(_is_bracketed(one) and _is_a_set(other) for one, other in ((right, found), (found, right))):
        return False  # Math-Verify takes a pair for a set
    if _base(right) and _base(found) and _base(right) != _base(found):
        return False  # Math-Verify drops the base
    return _verify(_parsed(right), _parsed(found)) or _are_equal_without_names(right, found)


def _is_bracketed(text: str) -> bool:
    return text[:1] in tuple("([") and text[-1:] in tuple(")]")


def _is_a_set(text: str) -> bool:
    return text.startswith(r"\{") or r"\pm" in text


def _base(text: str) -> str | None:
    written = _IN_A_BASE.match(text)
    return written.group(1) if written else None


def _are_equal_without_names(right: str, found: str) -> bool:
    pair = [_NAME_OF_THE_UNKNOWN.sub("", text) for text in (right, found)]
    return pair != [right, found] and "".join(pair[0].split()) == "".join(pair[1].split())


@lru_cache(maxsize=4096)
def _parsed(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    refuse_too_high(text)
    boxed = LatexExtractionConfig(boxed_match_priority=0)
    formula = _LAST_SUMMAND.sub(r"\1\2", text)  # of `1 + m` Math-Verify would leave `1 +`, as if `m` were metres
    found = parse(rf"\boxed{{{formula}}}", [boxed], parsing_timeout=None)
    for expression in found:
        if not isinstance(expression, str):
            refuse_too_large(expression)
    return found


def _verify(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify

    if not (gold and answer) or surely_differ(gold[0], answer[0]):
        return False
    return verify(gold, answer, allow_set_relation_comp=True, timeout_seconds=None)  # x > 3 is (3, \infty)


def _depth(text: str) -> int | None:
    """How deep brackets stand in each other; `None` if the braces do not match."""
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
