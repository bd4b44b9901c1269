"""Compare two formulas: as text, as ratios, and as what the parser reads."""

import re

from .choices import is_row_of_labels
from .formula_forms import names_of_capitals, split_outside_brackets, squeezed
from .normal_form import plain_number
from .units import SINGLE_LETTERS
from .whole_parse import are_equal_expressions, parsed


_COMMAND = re.compile(r"\\[A-Za-z]+")


def are_equal_formulas(right: str, found: str) -> bool:
    """Whether two formulas in normal form are equal; one that cannot be read whole equals only its own text."""
    if squeezed(right) == squeezed(found):
        return True
    if is_row_of_labels(right) or is_row_of_labels(found) or names_of_capitals(right) != names_of_capitals(found):
        return False
    numbers = plain_number(right), plain_number(found)
    if None not in numbers and _places(right) == _places(found):
        return numbers[0] == numbers[1]
    ratios = split_outside_brackets(right, ":"), split_outside_brackets(found, ":")
    if max(map(len, ratios)) > 1:
        return _are_equal_ratios(*ratios)
    return bool(are_equal_parses(right, _without_unit_of_number(right, found)))


def _places(number: str) -> int:
    return len(number.partition(".")[2])


def are_equal_parses(right: str, found: str) -> bool | None:
    """Whether two formulas are equal; `None` if one of them cannot be read whole."""
    if any(is_bracketed(one) and _is_set(other) for one, other in ((right, found), (found, right))):
        return False  # Math-Verify reads a pair as a set
    expressions = parsed(right), parsed(found)
    if expressions[0] is None or expressions[1] is None:
        return None
    return are_equal_expressions(*expressions)


def is_bracketed(text: str) -> bool:
    return text[:1] in tuple("([") and text[-1:] in tuple(")]")


def _is_set(text: str) -> bool:
    return text.startswith(r"\{") or r"\pm" in text


def _are_equal_ratios(right: list[str], found: list[str]) -> bool:
    """Whether two ratios are proportional; a ratio of two numbers is also their quotient."""
    if not all([*right, *found]):
        return False
    if len(right) != len(found):
        one, other = (
            rf"\frac{{{ratio[0]}}}{{{ratio[1]}}}" if len(ratio) == 2 else ratio[0] for ratio in (right, found)
        )
        return max(len(right), len(found)) == 2 and bool(are_equal_parses(one, other))
    quotients = [[rf"\frac{{{part}}}{{{ratio[0]}}}" for part in ratio[1:]] for ratio in (right, found)]
    return all(are_equal_parses(*pair) for pair in zip(*quotients, strict=True))


def _without_unit_of_number(right: str, found: str) -> str:
    """`5m` as 5 where the right answer is a number, which has no variable."""
    is_number = found[-1:] in SINGLE_LETTERS and found[-2:-1].isdecimal()
    return found[:-1] if is_number and not any(map(str.isalpha, _COMMAND.sub("", right + found[:-1]))) else found
