"""Join inequalities of one unknown to a set: `x < -1 or x > 2` is a union, `x > 2 and x < 5` an interval."""

from collections.abc import Sequence
from typing import Any


def set_of_inequalities(expressions: Sequence[Any], are_alternatives: bool) -> Any | None:
    """The values that some (or else all) of several inequalities allow; `None` unless all are of the same unknown."""
    import sympy

    relations = (sympy.StrictLessThan, sympy.LessThan, sympy.StrictGreaterThan, sympy.GreaterThan)
    if not all(isinstance(expression, relations) for expression in expressions):
        return None
    unknowns = {symbol for expression in expressions for symbol in expression.free_symbols}
    if len(unknowns) != 1:
        return None
    try:
        sets = [expression.as_set() for expression in expressions]
        return sympy.Union(*sets) if are_alternatives else sympy.Intersection(*sets)
    except (NotImplementedError, TypeError, ValueError):
        return None
