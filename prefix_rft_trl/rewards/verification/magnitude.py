"""Refuse expressions that no machine can evaluate, judged by their unevaluated tree.

Examples are `9^{9^{9^9}}`, `(10^{10})!`, and a sum of 10^12 terms.
"""

import math
import re
from typing import Any


MOST_DIGITS = 10_000
MOST_TERMS = 10_000
MOST_ANGLE_DIGITS = 100
HIGHEST_DEGREE = 200
HIGHEST_TOWER = 3

_EXPONENTS_AND_BRACES = re.compile(r"\^\s*\{?|\\[{}]|[{}]")
_LARGE_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{\s*\d{5,}")


class TooLarge(Exception):
    """An expression that is too large to compute with."""


def refuse_too_high(text: str) -> None:
    """Refuse LaTeX that Math-Verify would evaluate while parsing it.

    Raises:
        TooLarge: for a tower of `HIGHEST_TOWER` exponents, and for a binomial of a large number.
    """
    opened: list[bool] = []
    height = 0
    for token in _EXPONENTS_AND_BRACES.findall(text):
        is_exponent = token[0] == "^"
        if is_exponent and height + 1 >= HIGHEST_TOWER:
            raise TooLarge(f"a tower of {HIGHEST_TOWER} exponents")
        if token == "}" and opened:
            height -= opened.pop()
        elif token == "{" or (is_exponent and token[-1] == "{"):
            opened.append(is_exponent)
            height += is_exponent
    if _LARGE_BINOMIAL.search(text):
        raise TooLarge("a binomial of a large number")


def refuse_too_large(expression: Any) -> None:
    """Refuse an expression, left unevaluated by `math_verify.parse`, whose evaluation would be too large.

    Raises:
        TooLarge: if a number in it has more than `MOST_DIGITS` digits, if a sum or product has more than `MOST_TERMS`
            terms, or if expanding a power of a sum gives as many.
    """
    _digits(expression)


def _digits(expression: Any) -> float:
    """Estimate the log10 of a numeric expression, seldom too low; 0 for symbols."""
    import sympy

    if isinstance(expression, sympy.MatrixBase):
        return max((_digits(item) for item in expression), default=0.0)
    digits = _combine(expression, [_digits(argument) for argument in getattr(expression, "args", ())])
    if digits > MOST_DIGITS:
        raise TooLarge(f"a number of 10^{digits:.0f}")
    return digits


def _combine(expression: Any, digits: list[float]) -> float:
    import sympy
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    if isinstance(expression, sympy.Rational):
        return math.log10(max(abs(int(expression.p)), int(expression.q)))
    if isinstance(expression, sympy.Float):
        return abs(expression._mpf_[2] + expression._mpf_[3]) * math.log10(2)
    if isinstance(expression, sympy.NumberSymbol):
        return 0.5
    if isinstance(expression, sympy.Pow):
        return _power_digits(*expression.args, *digits)
    if isinstance(expression, sympy.exp):
        return 10 ** min(digits[0], 9) * 0.44
    if isinstance(expression, (sympy.factorial, sympy.gamma, sympy.factorial2)):
        return _factorial_digits(digits[0])
    if isinstance(expression, sympy.binomial):
        return _factorial_digits(min(digits[0], 9))
    if isinstance(expression, (sympy.Sum, sympy.Product)):
        _check_terms(expression)
    if isinstance(expression, TrigonometricFunction) and digits[0] > MOST_ANGLE_DIGITS:
        raise TooLarge(f"an angle of 10^{digits[0]:.0f}")
    if isinstance(expression, sympy.Mul):
        return sum(digits)
    return max(digits, default=0.0)


def _power_digits(base: Any, exponent: Any, base_digits: float, exponent_digits: float) -> float:
    if exponent.free_symbols:
        return max(base_digits, exponent_digits)
    size = abs(float(exponent)) if exponent.is_Rational and exponent_digits < 9 else 10 ** min(exponent_digits, 9)
    if base.free_symbols:
        terms = len(base.args) if base.is_Add else 1
        if (terms > 1 and size > HIGHEST_DEGREE) or math.comb(int(size) + terms - 1, terms - 1) > MOST_TERMS:
            raise TooLarge(f"a power of {terms} terms")
        return base_digits
    return base_digits * size


def _factorial_digits(digits: float) -> float:
    number = 10 ** min(digits, 9)
    return number * max(digits, 1.0)


def _check_terms(expression: Any) -> None:
    for _, *bounds in expression.limits:
        digits = [_digits(bound) for bound in bounds if not bound.free_symbols and bound.is_finite is not False]
        if any(10 ** min(size, 9) > MOST_TERMS for size in digits):
            raise TooLarge("a sum or a product of many terms")
