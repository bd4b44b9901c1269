"""Answers that are clearly wrong, told by their value, which spares the algebra that would find no way to equate them.

Two expressions that are the same have the same value wherever both have one. Where the values at one point are far
apart, they are not; where they are close or missing, nothing is said.
"""

from typing import Any


FAR_APART = 1e-3  # relative; Math-Verify rounds to 6 decimals
LARGEST = 1e12  # beyond it a value may be a pole that rounding has missed, such as tan(pi / 2)


def surely_differ(first: Any, second: Any) -> bool:
    """Whether two expressions cannot be equal: by value, or one is a number and the other has several parts."""
    return have_different_values(first, second) or any(
        _has_several_parts(one) and _is_plain(other) and not other.free_symbols
        for one, other in ((first, second), (second, first))
    )


def _has_several_parts(expression: Any) -> bool:
    import sympy

    if isinstance(expression, (sympy.Tuple, sympy.FiniteSet)):
        return len(set(expression.args)) > 1
    return isinstance(expression, sympy.Interval)


def have_different_values(first: Any, second: Any) -> bool:
    """Whether two scalar expressions differ clearly at one point; `False` also where that cannot be told.

    Args:
        first, second: sympy expressions. Sets, matrices, equations, percentages and what holds an integral, a sum or a
            limit are not looked at, nor is a symbol alone, which is compared by its name: `\\text{3}` is 3.
    """
    if not (_is_plain(first) and _is_plain(second)) or first.is_Symbol or second.is_Symbol:
        return False
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    point = {symbol: 0.37 + 0.61803 * place for place, symbol in enumerate(symbols)}
    one, other = (_value(expression, point) for expression in (first, second))
    if one is None or other is None:
        return False
    size = max(abs(one), abs(other))
    # Differences of floats leave a rest where symbols have values; numbers are computed as exactly as it takes
    return size > (1e-9 if symbols else 1e-30) and abs(one - other) > FAR_APART * size


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
    return value if abs(value) < LARGEST else None  # also nan
