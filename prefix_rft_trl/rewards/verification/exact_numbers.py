"""Compare numbers by their value, without a tolerance where both are exact."""

from typing import Any


SAME = 1e-20  # relative; values have 30 digits
ROUNDED_TO = 5e-7  # as Math-Verify rounds decimals


def have_same_number(first: Any, second: Any) -> bool | None:
    """Whether two exact numbers are the same, however small their difference; `None` if that is not certain.

    1/1500! and 1/1502! differ by less than any tolerance. Decimals, which may be rounded, are left to Math-Verify, but
    for complex numbers, whose parts are compared to 6 places. An `i` beside numbers is the imaginary unit.

    Args:
        first, second: sympy expressions, unevaluated.
    """
    import sympy

    numbers = [_number(expression) for expression in (first, second)]
    if not all(_is_computable(number) for number in numbers):
        return None
    one, other = (_precise_value(number) for number in numbers)
    if one is None or other is None:
        return None
    differences = [abs(part - same_part) for part, same_part in zip(one, other, strict=True)]
    if any(number.has(sympy.Float) for number in numbers):
        return max(differences) < ROUNDED_TO if any(number.has(sympy.I) for number in numbers) else None
    return bool(max(differences) <= SAME * max(abs(part) for part in (*one, *other)))


def _number(expression: Any) -> Any:
    import sympy

    symbols = getattr(expression, "free_symbols", ())
    is_complex = len(symbols) == 1 and all(symbol.name == "i" for symbol in symbols)
    return expression.xreplace(dict.fromkeys(symbols, sympy.I)) if is_complex else expression


def _is_computable(number: Any) -> bool:
    import sympy

    numbers = (sympy.Number, sympy.NumberSymbol, sympy.core.numbers.ImaginaryUnit)
    operations = (sympy.Add, sympy.Mul, sympy.Pow, sympy.exp, sympy.log, sympy.factorial, sympy.binomial)
    if not isinstance(number, sympy.Expr):
        return False
    parts = [*sympy.preorder_traversal(number)]
    has_base = any(
        isinstance(part, sympy.log) and len(part.args) > 1 for part in parts
    )  # of which `evalf` knows nothing
    return not has_base and all(isinstance(part, (*numbers, *operations)) for part in parts)


def _precise_value(number: Any) -> tuple[Any, Any] | None:
    """The real and the imaginary part to 30 digits; `None` if they have no digit that is certain, as a hidden 0."""
    try:
        parts = number.evalf(30).as_real_imag()
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
    are_certain = all(part.is_zero or (part.is_Float and part._prec > 1) for part in parts)
    return parts if are_certain and not all(part.is_zero for part in parts) else None
