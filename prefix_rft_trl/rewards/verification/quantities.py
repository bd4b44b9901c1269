"""Quantities: values with units, sums of them such as `2 hours 30 minutes`, and rounded values."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from .normal_form import plain_number
from .statement_reading import Value
from .units import Measure, measure, without_scale
from .whole_parse import parsed


_GENERIC = frozenset("unit units square cubic of the a an in total".split())  # noqa: SIM905
_TEMPERATURES = ((("celsius", 1),), (("fahrenheit", 1),))
_SIGNS = (r"\circ", r"\circ}", "%")  # units that are a part of the formula


def in_one_unit(right: Value, found: Value) -> tuple[str, str] | None:
    """The formulas of two values in the same unit; `None` if they measure different things.

    Known units are converted, number words such as `million` are factors. Other words are a label, which may be
    missing on one side: `10 km north` is not `10 km south`.
    """
    (unit, scale), (other_unit, other_scale) = without_scale(right.unit), without_scale(found.unit)
    (measured, words), (other_measured, other_words) = _unit_and_label(unit), _unit_and_label(other_unit)
    measures = measured, other_measured
    if not (_may_name_the_same(words, other_words) and _may_name_the_same(right.label.split(), found.label.split())):
        return None
    if (measured and other_words and not other_measured) or (other_measured and words and not measured):
        return None  # 3 days are not 3 nights
    if measures[0] and measures[1]:
        if measures[0][0] != measures[1][0]:
            return None
        ratio = measures[0][1] / measures[1][1]
        scale, other_scale = scale * ratio.numerator, other_scale * ratio.denominator
    signs = right.formula.endswith(_SIGNS), found.formula.endswith(_SIGNS)
    if any(sign and what and what[0] not in _TEMPERATURES for sign, what in zip(signs, measures[::-1], strict=True)):
        return None
    return _times(right.formula, scale), _times(found.formula, other_scale)


def _unit_and_label(text: str) -> tuple[Measure | None, list[str]]:
    """What the first words measure, and the stems of the others."""
    words = text.split()
    known = next((end for end in range(len(words), 0, -1) if measure(" ".join(words[:end]))), 0)
    others = [word.lower().strip("'\".()") for word in words[known:]]
    stems = [word.rstrip("s").removesuffix("e").replace("y", "i") for word in others if word not in _GENERIC]
    return measure(" ".join(words[:known])), stems


def _may_name_the_same(words: list[str], others: list[str]) -> bool:
    """Whether one of two labels has the words of the other, in their order."""
    shorter, longer = sorted((words, others), key=len)
    rest = iter(longer)
    return all(word in rest for word in shorter)


def _times(formula: str, factor: int) -> str:
    return formula if factor == 1 else rf"({formula}) \cdot {factor}"


def total(value: Value) -> Value | None:
    """`2 hours 30 minutes` as a number of seconds; a value of one formula as it is."""
    if value.formula:
        return value if measure(value.unit) else None
    numbers, units = value.pieces[::2], value.pieces[1::2]
    measures = [measure(unit.text) for unit in units]
    known = [found for found in measures if found]
    amounts = [amount for number in numbers if (amount := plain_number(number.text)) is not None]
    is_sum = len(known) == len(amounts) == len(units) == len(numbers) and len({what for what, _ in known}) == 1
    if not is_sum or any(size <= following for (_, size), (_, following) in pairwise(known)):
        return None
    sum_of_all = sum(amount * size for amount, (_, size) in zip(amounts, known, strict=True)) / known[-1][1]
    return Value(rf"\frac{{{sum_of_all.numerator}}}{{{sum_of_all.denominator}}}", units[-1].text, value.pieces)


def canonical_words(text: str) -> str:
    """Words without plural, punctuation and `and`; a known unit by what it measures."""
    known = measure(text)
    if known:
        return repr(known)
    return _plain_words(text)


def _plain_words(text: str) -> str:
    words = [word.strip("'\".()") for word in text.lower().split()]
    return " ".join(
        "r" if word == "remainder" else word.removesuffix("s") if len(word) > 3 else word
        for word in words
        if word != "and"
    )


def is_rounded(exact: Value, rough: Sequence[Value]) -> bool:
    """Whether what follows a sign of approximation is the value before it, rounded or, if that is exact, cut off."""
    before = _number(exact.formula)
    if before is None:
        return False
    is_decimal = "." in exact.formula
    for value in rough:
        number = plain_number(value.formula)
        if number is None:
            return False
        unit = Fraction(1, 10 ** (12 if "frac" in value.formula else len(value.formula.partition(".")[2])))
        left = abs(before) - abs(number)
        is_half_up = 2 * left == -unit and abs(number) > unit
        is_near = 2 * abs(left) < unit or is_half_up or (not is_decimal and unit < 1 and 0 <= left < unit)
        is_of_same_sign = before * number > 0 or before == number
        if not (is_near and is_of_same_sign) or (unit == before.denominator == 1 and left):
            return False
    return True


def _number(formula: str) -> Fraction | None:
    """The value of a formula without variables, to 30 digits unless it is a plain number."""
    if (plain := plain_number(formula)) is not None:
        return plain
    expression = parsed(formula) if formula else None
    if getattr(expression, "free_symbols", True):
        return None
    try:
        return Fraction(str(expression.evalf(30)))  # type: ignore[union-attr]
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
