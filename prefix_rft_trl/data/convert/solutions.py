"""The answer of a row, for the reward, as text."""

import math
import re
from typing import Any

from .rows import Unusable


_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def solution_of(value: Any) -> str | tuple[str, ...]:
    """The answer as text, or several acceptable ones where the row has a list of more than one.

    Raises:
        Unusable: if there is none.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    found = tuple(dict.fromkeys(text for text in map(_text, values) if text))
    if not found:
        raise Unusable("no answer")
    return found[0] if len(found) == 1 else found


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with a gap is read as floats
    return str(value).strip()


def without_separators(answer: str) -> str:
    """`1,234` as `1234`; anything else than a plain number with separators of thousands as it is."""
    return answer.replace(",", "") if _GROUPED.fullmatch(answer) else answer
