"""The tool of the lab's level `agent`."""

import re


_OPERATION = re.compile(r"(-?[0-9]{1,9})([-+*])([0-9]{1,9})")
_OPERATORS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def calculate(expression: str) -> str:
    """Calculates one operation on two integers.

    Args:
        expression: two integers with +, - or * between them, such as 7*8

    Returns:
        The result.
    """
    found = _OPERATION.fullmatch(expression)
    if found is None:
        raise ValueError("not an operation on two integers")
    left, operator, right = found.groups()
    return str(_OPERATORS[operator](int(left), int(right)))
