"""Quantities: values with units, sums of them such as `2 hours 30 minutes`, and rounded values."""

from collections.abc import Sequence
from itertools import pairwise

from .normal_form import plain_number
from .statement_reading import Value
from .units import measure, without_scale
from .whole_parse import parsed


_SIGNS = (r"\circ", r"\circ}", "%")  # units that are a part of the formula


def in_one_unit(right: Value, found: Value) -> tuple[str, str] | None:
    """The formulas of two values in the same unit; `None` if they measure different things.

    Known units are converted, number words such as `million` are factors, and any other word is only a label.
    """
    (unit, scale), (other_unit, other_scale) = without_scale(right.unit), without_scale(found.unit)
    measures = measure(unit), measure(other_unit)
    if measures[0] and measures[1]:
        if measures[0][0] != measures[1][0]:
            return None
        ratio = measures[0][1] / measures[1][1]
        scale, other_scale = scale * ratio.numerator, other_scale * ratio.denominator
    signs = right.formula.endswith(_SIGNS), found.formula.endswith(_SIGNS)
    if (signs[0] and measures[1]) or (signs[1] and measures[0]):
        return None
    return _times(right.formula, scale), _times(found.formula, other_scale)


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
    words = [word.strip("'\".()") for word in text.lower().split()]
    return " ".join(
        "r" if word == "remainder" else word.removesuffix("s") if len(word) > 3 else word
        for word in words
        if word != "and"
    )


def is_rounded(exact: Value, rough: Sequence[Value]) -> bool:
    """Whether what follows a sign of approximation is the value before it, rounded."""
    expression = parsed(exact.formula) if exact.formula else None
    for value in rough:
        number = plain_number(value.formula)
        if expression is None or number is None or getattr(expression, "free_symbols", True):
            return False
        try:
            difference = abs(float(expression.evalf()) - float(number))
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return False
        places = len(value.formula.partition(".")[2]) if "frac" not in value.formula else 12
        if difference > (1 if places else 0.5) * 10.0**-places or (
            not places and expression.is_Integer and difference
        ):
            return False
    return True
