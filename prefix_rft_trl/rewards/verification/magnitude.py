"""Whether an expression is too large to be computed with, told from its tree without computing it.

What an answer leaves to be worked out can be beyond any machine: `9^{9^{9^9}}`, `(10^{10})!`, a sum of 10^12 terms.
"""

import math
import re
from typing import Any


MOST_DIGITS = 10_000
MOST_TERMS = 10_000
MOST_DIGITS_OF_AN_ANGLE = 100
HIGHEST_DEGREE = 200
HIGHEST_TOWER = 3


class TooLarge(Exception):
    """An expression that is not worth computing with."""


_EXPONENTS_AND_BRACES = re.compile(r"\^\s*\{?|\\[{}]|[{}]")
_BINOMIAL_OF_MANY = re.compile(r"\\[dt]?binom\s*\{\s*\d{5,}")


def refuse_too_high(text: str) -> None:
    """Raises `TooLarge` for what Math-Verify computes while it reads it: towers of `HIGHEST_TOWER` exponents in each
    other, binomials of large numbers.

    Args:
        text (`str`): an answer in LaTeX.
    """
    opened: list[bool] = []
    for token in _EXPONENTS_AND_BRACES.findall(text):
        is_exponent = token[0] == "^"
        if is_exponent and sum(opened) + 1 >= HIGHEST_TOWER:
            raise TooLarge(f"a tower of {HIGHEST_TOWER} exponents")
        if token == "}" and opened:
            opened.pop()
        elif token == "{" or (is_exponent and token[-1] == "{"):
            opened.append(is_exponent)
    if _BINOMIAL_OF_MANY.search(text):
        raise TooLarge("a binomial of a large number")


def refuse_too_large(expression: Any) -> None:
    """Raises `TooLarge` if a number in an expression has more than `MOST_DIGITS` digits, if a sum or a product of it
    has more than `MOST_TERMS` terms, or if expanding a power of a sum gives as many.

    Args:
        expression: a sympy expression, matrix or set; `math_verify.parse` leaves it unevaluated.
    """
    _digits(expression)


def _digits(expression: Any) -> float:
    """About the log10 of the value, and seldom less, where the expression is a number; 0 for symbols."""
    import sympy

    if isinstance(expression, sympy.MatrixBase):
        return max((_digits(item) for item in expression), default=0.0)
    of_arguments = [_digits(item) for item in getattr(expression, "args", ())]
    return _checked(_combined(expression, of_arguments))


def _checked(digits: float) -> float:
    if digits > MOST_DIGITS:
        raise TooLarge(f"a number of 10^{digits:.0f}")
    return digits


def _combined(expression: Any, digits: list[float]) -> float:
    import sympy
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    if isinstance(expression, sympy.Rational):
        return math.log10(max(abs(int(expression.p)), int(expression.q)))
    if isinstance(expression, sympy.Float):
        return abs(expression._mpf_[2] + expression._mpf_[3]) * math.log10(2)
    if isinstance(expression, sympy.NumberSymbol):
        return 0.5
    if isinstance(expression, sympy.Pow):
        return _of_power(*expression.args, *digits)
    if isinstance(expression, sympy.exp):
        return 10 ** min(digits[0], 9) * 0.44
    if isinstance(expression, (sympy.factorial, sympy.gamma, sympy.factorial2)):
        return _of_factorial(digits[0])
    if isinstance(expression, sympy.binomial):
        return _of_factorial(min(digits[0], 9))
    if isinstance(expression, (sympy.Sum, sympy.Product)):
        _check_terms(expression)
    if isinstance(expression, TrigonometricFunction) and digits[0] > MOST_DIGITS_OF_AN_ANGLE:
        raise TooLarge(f"an angle of 10^{digits[0]:.0f}")
    if isinstance(expression, sympy.Mul):
        return sum(digits)
    return max(digits, default=0.0)


def _of_power(base: Any, exponent: Any, of_base: float, of_exponent: float) -> float:
    if exponent.free_symbols:
        return max(of_base, of_exponent)
    size = abs(float(exponent)) if exponent.is_Rational and of_exponent < 9 else 10 ** min(of_exponent, 9)
    if base.free_symbols:
        terms = len(base.args) if base.is_Add else 1
        if (terms > 1 and size > HIGHEST_DEGREE) or math.comb(int(size) + terms - 1, terms - 1) > MOST_TERMS:
            raise TooLarge(f"a power of {terms} terms")
        return of_base
    return of_base * size


def _of_factorial(digits: float) -> float:
    number = 10 ** min(digits, 9)
    return number * max(digits, 1.0)


def _check_terms(expression: Any) -> None:
    for _, *bounds in expression.limits:
        digits = [_digits(bound) for bound in bounds if not bound.free_symbols and bound.is_finite is not False]
        if any(10 ** min(size, 9) > MOST_TERMS for size in digits):
            raise TooLarge("a sum or a product of many terms")
