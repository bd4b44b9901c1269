"""Refute clearly wrong answers by their numeric value, which spares a long and futile algebraic comparison.

Equal expressions have equal values wherever both are defined. If the values at one point are far apart, the
expressions differ; if they are close or undefined, nothing follows.
"""

from typing import Any


FAR_APART = 1e-3  # relative; Math-Verify rounds to 6 decimals
FACTORS_APART = 5e-6  # relative, where nothing is added; 0.333333 may be 1/3
LARGEST = 1e12  # a larger value may be a pole that rounding has missed, such as tan(pi / 2)


def surely_differ(first: Any, second: Any) -> bool:
    """Whether two expressions cannot be equal: their values differ, or one is a number and the other a collection."""
    return have_different_values(first, second) or any(
        _is_collection(one) and _is_plain(other) and not other.free_symbols
        for one, other in ((first, second), (second, first))
    )


def _is_collection(expression: Any) -> bool:
    import sympy

    if isinstance(expression, (sympy.Tuple, sympy.FiniteSet)):
        return len(set(expression.args)) > 1
    return isinstance(expression, sympy.Interval)


def have_different_values(first: Any, second: Any) -> bool:
    """Whether two scalar expressions clearly differ at one point; `False` if that cannot be determined.

    Args:
        first, second: sympy expressions. Not evaluated are sets, matrices, equations, percentages, anything with an
            integral, sum or limit, and a lone symbol, which is compared by its name: `\\text{3}` is 3.
    """
    import sympy
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    if not (_is_plain(first) and _is_plain(second)) or first.is_Symbol or second.is_Symbol:
        return False
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    point = {symbol: 0.37 + 0.61803 * place for place, symbol in enumerate(symbols)}
    one, other = (_value(expression, point) for expression in (first, second))
    if one is None or other is None:
        return False
    size, difference = max(abs(one), abs(other)), abs(one - other)
    if not any(expression.has(sympy.Add, TrigonometricFunction, sympy.log) for expression in (first, second)):
        return difference > FACTORS_APART * size  # factors leave no remainder of a rounding
    # With symbols, rounding leaves a remainder in differences of floats; numbers are computed to full precision
    return size > (1e-9 if symbols else 1e-30) and difference > FAR_APART * size


def _is_plain(expression: Any) -> bool:
    import sympy
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    numbers = (sympy.Number, sympy.NumberSymbol)
    operations = (sympy.Add, sympy.Mul, sympy.Pow, sympy.exp, sympy.log, TrigonometricFunction)
    return isinstance(expression, sympy.Expr) and all(
        isinstance(part, (sympy.Symbol, *numbers, *operations)) for part in sympy.preorder_traversal(expression)
    )


def _value(expression: Any, point: dict[Any, float]) -> complex | None:
    try:
        value = complex(expression.evalf(15, subs=point))
    except (TypeError, ValueError, ArithmeticError):
        return None
    return value if abs(value) < LARGEST else None  # nan compares false
