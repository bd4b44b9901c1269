"""Corrupt a demonstration: one number of the final answer is changed, and the slip is carried through to the end.

The answer changes too wherever the working arrives at it, so that the text reads like a solution that went wrong in
one step.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from prefix_rft_trl.rewards.answers import LONGEST_WORD, find_final_answer

from .rows import without_separators


ATTEMPTS = 8

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,18}(?:\.\d{1,6})?"
# Digits right after a letter belong to a command (`\frac12`) or to a name (`x2`)
_NUMBER_INSIDE = re.compile(rf"(?<![A-Za-z\d.,])(?:{_NUMBER})(?![\d])")
_PLAIN_NUMBER = re.compile(rf"-?(?:{_NUMBER})")
_CHOICE = re.compile(r"(\(?|\\text\{\(?)([A-E])(\)?\}?)")
_STATED = re.compile(r"(?:=|boxed|####|answer is|answer:)[\s$*\\({]*-?$", re.IGNORECASE)
_CONTEXT = 24  # characters before an answer in which it is announced


@dataclass(frozen=True)
class Corruption:
    """A corrupted demonstration.

    Attributes:
        text (`str`): the complete text.
        answer (`str`): the wrong answer that it ends in.
        is_certain (`bool`): whether the answer is known to be wrong. `False` where it may be another way to write the
            right value, which a verifier has to decide.
    """

    text: str
    answer: str
    is_certain: bool


def corrupt(text: str, golds: Sequence[str], rng: np.random.Generator) -> Corruption | None:
    """Corrupts a demonstration; `None` if it states no answer, or one without a number or choice to change."""
    stated = find_final_answer(text)
    if stated is None or len(stated.text) > LONGEST_WORD:
        return None
    right = {value for value in map(_comparable_value, (stated.text, *golds)) if value is not None}
    for _ in range(ATTEMPTS):
        answer = _change_answer(stated.text, rng)
        if answer is None or answer in golds or _comparable_value(answer) in right:
            continue
        corrupted = _carry_through(text, stated.start, stated.text, answer)
        final = find_final_answer(corrupted)
        if final is not None and final.text == answer:
            is_certain = all(_comparable_value(each) is not None for each in (answer, *golds))
            return Corruption(corrupted, answer, is_certain)
    return None


def _comparable_value(answer: str) -> Decimal | str | None:
    """The value of a plain number or a choice, for which equal values mean equal answers; `None` for all others."""
    plain = without_separators(answer.strip().strip("$"))
    if _PLAIN_NUMBER.fullmatch(plain):
        return Decimal(plain)
    choice = _CHOICE.fullmatch(plain)
    return choice.group(2) if choice else None


def _change_answer(answer: str, rng: np.random.Generator) -> str | None:
    """The answer with one of its numbers changed, or another choice."""
    if choice := _CHOICE.fullmatch(answer):
        others = [letter for letter in "ABCDE" if letter != choice.group(2)]
        return f"{choice.group(1)}{others[rng.integers(len(others))]}{choice.group(3)}"
    numbers = list(_NUMBER_INSIDE.finditer(answer))
    if not numbers:
        return None
    number = numbers[rng.integers(len(numbers))]
    return answer[: number.start()] + _change_number(number.group(), rng) + answer[number.end() :]


def _change_number(number: str, rng: np.random.Generator) -> str:
    """A nearby number in the same notation: as many decimals, separators if it has them."""
    integer, _, decimals = number.replace(",", "").partition(".")
    units = int(integer + decimals)
    step = int(rng.integers(1, max(3, units // 10) + 1))
    changed = units - step if rng.random() < 0.5 and units - step >= 1 else units + step
    digits = str(changed).zfill(len(decimals) + 1)
    split = len(digits) - len(decimals)
    grouped = f"{int(digits[:split]):,}" if "," in number else digits[:split]
    return f"{grouped}.{digits[split:]}" if decimals else grouped


def _carry_through(text: str, statement: int, old: str, new: str) -> str:
    """Replaces the answer from where the working first arrives at it, at the latest in its statement."""
    matches = [match for match in _occurrences(old).finditer(text) if len(old) > 1 or _is_stated(text, match)]
    arrival = next((match.start() for match in matches if _is_stated(text, match)), statement)
    pieces, end = [], 0
    for match in matches:
        if match.start() >= arrival:
            pieces += [text[end : match.start()], new]
            end = match.end()
    return "".join(pieces) + text[end:]


def _occurrences(answer: str) -> re.Pattern[str]:
    """Pattern of an answer that stands alone, not inside a longer number or word."""
    plain = without_separators(answer)
    spellings = {answer, plain}
    if plain.isdigit():
        spellings.add(f"{int(plain):,}")
    anyone = "|".join(sorted(map(re.escape, spellings), key=len, reverse=True))
    return re.compile(rf"(?<![\w.,])(?:{anyone})(?!\w|[.,]\d)")


def _is_stated(text: str, match: re.Match[str]) -> bool:
    """Whether the match is announced as a result: a single digit or letter has many other meanings in a text."""
    return bool(_STATED.search(text[max(0, match.start() - _CONTEXT) : match.start()]))


def confirm_wrong(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> list[bool]:
    """Whether the verifier confirms that each answer differs from all of its golds.

    An answer that it cannot judge counts as right, so that no right answer passes for wrong. Where it cannot read the
    gold, the texts decide, and they differ.
    """
    if not answers:
        return []
    from prefix_rft_trl.rewards.answers import acceptable_golds
    from prefix_rft_trl.rewards.verification.verifier import Verdict, Verifier

    pairs = [(answer, acceptable_golds(list(right))) for answer, right in zip(answers, golds, strict=True)]
    with Verifier() as verifier:
        verdicts = verifier.verify(pairs, progress="Checking corrupted answers")
    return [verdict in (Verdict.DIFFERENT, Verdict.UNREADABLE_GOLD) for verdict in verdicts]
