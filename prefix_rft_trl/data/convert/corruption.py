"""A demonstration with a wrong answer, for the ablation of quality: a slip that is carried through to the end.

A number of the final answer is changed, and so is the answer from the place where the working first arrives at it, so
that it reads like a solution that went wrong in one step.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from hashlib import blake2b

import numpy as np

from prefix_rft_trl.rewards.answers import find_final_answer

from .rows import without_separators


ATTEMPTS = 8


_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,18}(?:\.\d{1,6})?"


# Digits right after a letter belong to a command (`\frac12`) or to a name (`x2`)
_NUMBER_INSIDE = re.compile(rf"(?<![A-Za-z\d.,])(?:{_NUMBER})(?![\d])")


_PLAIN = re.compile(rf"-?(?:{_NUMBER})")


_CHOICE = re.compile(r"(\(?|\\text\{\(?)([A-E])(\)?\}?)")


_STATED = re.compile(r"(?:=|boxed\s*\{?|####|answer is|answer:)[\s$*\\({]*-?$", re.IGNORECASE)


_CONTEXT = 24


@dataclass(frozen=True)
class Damaged:
    """A damaged demonstration.

    Attributes:
        text (`str`): all of it.
        answer (`str`): the wrong answer that it ends in.
        certain (`bool`): whether that is known to be wrong. `False` where two ways to write a value could be the same,
            so that it is left to a verifier.
    """

    text: str
    answer: str
    certain: bool


def damage(text: str, golds: tuple[str, ...], rng: np.random.Generator) -> Damaged | None:
    """A demonstration with a slip.

    Args:
        text (`str`): the demonstration.
        golds (`tuple[str, ...]`): the right answers.
        rng (`np.random.Generator`): what decides upon the slip.

    Returns:
        `Damaged` or `None`: `None` if the text states no answer, or one in which there is no number or choice to
        change.
    """
    stated = find_final_answer(text)
    if stated is None:
        return None
    right = {value for value in map(_value, (stated.text, *golds)) if value is not None}
    for _ in range(ATTEMPTS):
        answer = _another(stated.text, rng)
        if answer is None or answer in golds or _value(answer) in right:
            continue
        damaged = _carried(text, stated.start, stated.text, answer)
        ends_in = find_final_answer(damaged)
        if ends_in is not None and ends_in.text == answer:
            comparable = _value(answer) is not None and all(_value(gold) is not None for gold in golds)
            return Damaged(damaged, answer, comparable)
    return None


def _value(answer: str) -> Decimal | str | None:
    """What an answer is worth, if two such are equal only when they are the same: a plain number or a choice."""
    plain = without_separators(answer.strip().strip("$"))
    if _PLAIN.fullmatch(plain):
        return Decimal(plain)
    choice = _CHOICE.fullmatch(plain)
    return choice.group(2) if choice else None


def _another(answer: str, rng: np.random.Generator) -> str | None:
    """The answer with one of its numbers changed, or another choice."""
    if choice := _CHOICE.fullmatch(answer):
        others = [letter for letter in "ABCDE" if letter != choice.group(2)]
        return f"{choice.group(1)}{others[rng.integers(len(others))]}{choice.group(3)}"
    numbers = list(_NUMBER_INSIDE.finditer(answer))
    if not numbers:
        return None
    number = numbers[rng.integers(len(numbers))]
    return answer[: number.start()] + _another_number(number.group(), rng) + answer[number.end() :]


def _another_number(number: str, rng: np.random.Generator) -> str:
    """A number near it, written like it: as many decimals, separators if it has them."""
    whole, _, decimals = number.replace(",", "").partition(".")
    units = int(whole + decimals)
    step = int(rng.integers(1, max(3, units // 10) + 1))
    changed = units - step if rng.random() < 0.5 and units - step >= 1 else units + step
    digits = str(changed).zfill(len(decimals) + 1)
    split = len(digits) - len(decimals)
    grouped = f"{int(digits[:split]):,}" if "," in number else digits[:split]
    return f"{grouped}.{digits[split:]}" if decimals else grouped


def _carried(text: str, statement: int, old: str, new: str) -> str:
    """The text with the new answer for the old from where the working first arrives at it."""
    found = [match for match in _occurrences(old).finditer(text) if _is_the_answer(text, match, old)]
    arrived = next((match.start() for match in found if _is_stated(text, match)), statement)
    places = [match.span() for match in found if match.start() >= arrived]
    pieces, end = [], 0
    for start, stop in places:
        pieces += [text[end:start], new]
        end = stop
    return "".join(pieces) + text[end:]


def _occurrences(answer: str) -> re.Pattern[str]:
    """Where an answer stands for itself, not inside a longer number or word."""
    plain = without_separators(answer)
    spellings = {answer, plain}
    if plain.isdigit():
        spellings.add(f"{int(plain):,}")
    anyone = "|".join(sorted(map(re.escape, spellings), key=len, reverse=True))
    return re.compile(rf"(?<![\w.,])(?:{anyone})(?!\w|[.,]\d)")


def _is_the_answer(text: str, match: re.Match[str], answer: str) -> bool:
    """A digit or letter alone means many things in a text; it is the answer only where it is stated."""
    return len(answer) > 1 or _is_stated(text, match)


def _is_stated(text: str, match: re.Match[str]) -> bool:
    return bool(_STATED.search(text[max(0, match.start() - _CONTEXT) : match.start()]))


class Purpose(IntEnum):
    """What is drawn: draws for one purpose tell nothing about those for another."""

    DEMONSTRATED = 1
    DAMAGED = 2
    DAMAGE = 3


Key = tuple[int, ...]


def text_key(text: str) -> int:
    """A number from 0 to 2**64 - 1 that stands for a text, in every run."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def generator(seed: int, purpose: Purpose, key: Key) -> np.random.Generator:
    """The random numbers of one problem, or of one of its demonstrations, for one purpose."""
    return np.random.default_rng((seed, purpose, *key))


def drawn(count: int, keys: Sequence[Key], seed: int, purpose: Purpose) -> set[int]:
    """Places of `count` of the keys, or of all if there are fewer.

    Those of a smaller count are among those of a larger one, and keys that join or leave do not move the others'
    order.
    """
    draws = [generator(seed, purpose, key).random() for key in keys]
    return set(sorted(range(len(keys)), key=draws.__getitem__)[:count])


def refuted(answers: Sequence[str], solutions: Sequence[str | tuple[str, ...]]) -> list[bool]:
    """Whether each answer is another than the right ones.

    An answer that the verifier could not judge counts as right, so that no right one passes for wrong; one whose right
    answer it cannot read is compared by its text, which differs.
    """
    if not answers:
        return []
    from prefix_rft_trl.rewards.golds import acceptable_golds
    from prefix_rft_trl.rewards.verification.verifier import Verdict, Verifier

    pairs = [(answer, acceptable_golds(solution)) for answer, solution in zip(answers, solutions, strict=True)]
    with Verifier() as verifier:
        verdicts = verifier.verify(pairs, progress="Checking damaged answers")
    return [verdict in (Verdict.DIFFERENT, Verdict.UNREADABLE_GOLD) for verdict in verdicts]
