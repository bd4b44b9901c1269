"""Compare numbers by their value, without a tolerance where both are exact."""

from typing import Any


DIGITS = 60
SAME = 1e-50  # relative
FLOAT_SAME = 1e-14  # relative; of numbers with decimals in them, such as 2^{0.5}
ROUNDED_TO = 5e-7  # as Math-Verify rounds decimals


def have_same_number(first: Any, second: Any) -> bool | None:
    """Whether two exact numbers are the same, however small their difference; `None` if that is not certain.

    1/1500! and 1/1502! differ by less than any tolerance. Decimals, which may be rounded, are left to Math-Verify, but
    for complex numbers, whose parts are compared to 6 places. An `i` beside numbers is the imaginary unit.

    Args:
        first, second: sympy expressions, unevaluated.
    """
    import sympy

    if not (_is_computable(first) and _is_computable(second)):
        return None
    numbers = [number.xreplace(dict.fromkeys(number.free_symbols, sympy.I)) for number in (first, second)]
    one, other = (_precise_value(number) for number in numbers)
    if one is None or other is None:
        return None
    differences = [abs(part - same_part) for part, same_part in zip(one, other, strict=True)]
    if any(number.has(sympy.Float) for number in numbers):
        if any(number.has(sympy.I) for number in numbers):
            return max(differences) < ROUNDED_TO * min(1, max(abs(part) for part in (*one, *other)))
        return True if max(differences) <= FLOAT_SAME * abs(one[0]) else None
    is_close = bool(max(differences) <= SAME * max(abs(part) for part in (*one, *other)))
    if is_close and all(number.is_rational for number in numbers):
        return bool(numbers[0].doit() == numbers[1].doit())  # 2^{200} is not 2^{200} + 1
    return is_close


def _is_computable(number: Any) -> bool:
    """Whether an expression is made of numbers, `i` and operations that have a value at once."""
    import sympy

    numbers = (sympy.Number, sympy.NumberSymbol, sympy.core.numbers.ImaginaryUnit)
    operations = (sympy.Add, sympy.Mul, sympy.Pow, sympy.exp, sympy.log, sympy.factorial, sympy.binomial)
    if not isinstance(number, sympy.Expr):
        return False
    parts = [*sympy.preorder_traversal(number)]
    if any(isinstance(part, sympy.log) and len(part.args) > 1 for part in parts):
        return False  # `evalf` takes no notice of a base
    return all(isinstance(part, (*numbers, *operations)) or (part.is_Symbol and part.name == "i") for part in parts)


def _precise_value(number: Any) -> tuple[Any, Any] | None:
    """The real and the imaginary part to `DIGITS` digits; `None` if no digit is certain, as of a hidden 0."""
    try:
        parts = number.evalf(DIGITS).as_real_imag()
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None
    if not all(part.is_Float or part.is_zero for part in parts):
        return None
    real, imaginary = (part if getattr(part, "_prec", 0) > 1 else 0 for part in parts)
    return (real, imaginary) if real or imaginary else None
