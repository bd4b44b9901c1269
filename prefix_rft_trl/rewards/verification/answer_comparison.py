"""Compare two answers part by part: each part of one must be a part of the other, and none may be left over."""

import re
from functools import lru_cache
from typing import Any

from .answer_pieces import FORMULA, WORDS, Statement, statements
from .braced_answers import condition_of_set, rows_of_cases
from .choices import are_same_choices, labelled_content
from .clock_times import are_same_time
from .formula_comparison import are_equal_formulas, are_equal_parses, is_bracketed
from .formula_forms import split_outside_brackets, squeezed
from .inequalities import set_of_inequalities
from .quantities import canonical_words, in_one_unit, is_rounded, total
from .statement_reading import Reading, Value, has_relation, read_statement
from .units import measure
from .verbal_answers import are_same_words
from .whole_parse import are_equal_expressions, is_pair, parsed


MOST_STATEMENTS = 40
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile("[a-z]+")
_JOINS = frozenset(["and", "or"])
_JUDGES = (are_same_time, are_same_choices, are_same_words)


def are_equal_answers(right: str, found: str, is_inside: bool = False) -> bool:
    """Whether two answers in normal form are equal.

    Args:
        right, found (`str`): the right answer, and that of a response.
        is_inside (`bool`): whether they are the condition of a set or a cell of cases, which have none inside.

    Raises:
        TooLarge: if one is too large to compute with.
    """
    if squeezed(right) == squeezed(found):
        return True
    for judge in _JUDGES:
        verdict = judge(right, found)
        if verdict is not None:
            return verdict
    labelled = labelled_content(right), labelled_content(found)
    if not is_inside and any(labelled):
        return _are_equal_choices(right, found, *labelled)
    joined = _joined_inequalities(right), _joined_inequalities(found)
    if (joined[0] is None) != (joined[1] is None):
        return _is_set_of_values(right, joined[1]) if joined[0] is None else _is_set_of_values(found, joined[0])
    if _are_joined_otherwise(right, found):
        return False
    return _are_equal_lists(statements(_without_braces(right)), statements(_without_braces(found)), is_inside)


def _are_joined_otherwise(right: str, found: str) -> bool:
    """Whether one has `and` where the other has `or`, which are alike only between the values of one unknown."""
    joins = [_JOINS.intersection(_WORD.findall(text.lower())) for text in (right, found)]
    if not (all(joins) and joins[0].isdisjoint(joins[1])):
        return False
    both = [*statements(right), *statements(found)]
    names = {read_statement(statement, True).name for statement in both}
    is_of_values = any(map(str.isdecimal, right)) or "" not in names
    return len(names) > 1 or not is_of_values or any(has_relation(piece.text) for part in both for piece in part)


def _joined_inequalities(text: str) -> Any | None:
    if not any(sign in text for sign in ("<", ">", r"\le", r"\ge", r"\lt", r"\gt")):
        return None
    parts = [" ".join(piece.text for piece in statement) for statement in statements(text)]
    if not 1 < len(parts) <= MOST_STATEMENTS or any(
        piece.kind == WORDS for part in statements(text) for piece in part
    ):
        return None
    return set_of_inequalities([parsed(part) for part in parts], are_alternatives=" and" not in text)


def _is_set_of_values(text: str, values: Any) -> bool:
    expression = parsed(text)
    return expression is not None and not is_pair(expression) and are_equal_expressions(expression, values)


def _without_braces(text: str) -> str:
    r"""The list in `\{f(1) = 2, f(2) = 3\}`, `\{(1, 2), (3, 4)\}` and a system of equations in `cases`."""
    rows = rows_of_cases(text) or []
    if rows and all(len(row) == 1 and "=" in row[0] for row in rows):
        return ", ".join(row[0] for row in rows)
    inside = text[2:-2]
    is_list = text.startswith(r"\{") and text.endswith(r"\}") and r"\{" not in inside and r"\}" not in inside
    if not is_list or condition_of_set(text):
        return text
    return inside if "=" in inside or all(map(is_bracketed, split_outside_brackets(inside, ","))) else text


def _are_equal_choices(
    right: str, found: str, of_right: tuple[str, str] | None, of_found: tuple[str, str] | None
) -> bool:
    """Whether a choice given by letter and content is the right one; given by one of them, that decides."""
    if of_right and of_found:
        return of_right[0] == of_found[0] and are_equal_answers(of_right[1], of_found[1], is_inside=True)
    (letter, content), other = (of_right, found) if of_right else (of_found, right)  # type: ignore[misc]
    bare = squeezed(other).strip("{}()")
    if len(bare) == 1 and bare.isupper():
        return bare == letter
    one, another = (content, other) if of_right else (other, content)
    return are_equal_answers(one, another, is_inside=True)


def _are_equal_lists(right: list[Statement], found: list[Statement], is_inside: bool) -> bool:
    if not (right and found) or max(len(right), len(found)) > MOST_STATEMENTS:
        return False
    rights = [read_statement(statement, True) for statement in right]
    founds = [read_statement(statement, False) for statement in found]
    if len(rights) == len(founds) == 1:
        return _are_equal_readings(rights[0], founds[0], is_inside)
    lists = _joined(rights), _joined(founds)
    if None not in lists and _have_same_units(rights, founds):
        verdict = are_equal_parses(*lists)  # type: ignore[arg-type]
        if verdict is not None:
            return verdict
    if 1 in (len(rights), len(founds)):
        unknowns, tuples = (rights, founds) if len(founds) == 1 else (founds, rights)
        if point := _as_point(unknowns, tuples[0]):
            pair = (point, tuples[0].values[-1].formula)
            return bool(are_equal_parses(*(pair if unknowns is rights else pair[::-1])))
    if len(rights) != len(founds):
        return _are_equal_values(_as_one_value(right), _as_one_value(found), is_inside)
    labels = _labels(rights), _labels(founds)
    if all(reading.name or len(reading.values) > 1 for reading in (*rights, *founds)) and "" in labels[0]:
        labels = [""] * len(rights), [""] * len(founds)  # equations of several unknowns, in any order
    elif (len(set(labels[0])) > 1 or len(set(labels[1])) > 1) and ({""} in (set(labels[0]), set(labels[1]))):
        return all(_are_equal_readings(*pair, is_inside) for pair in zip(rights, founds, strict=True))
    remaining = [*zip(founds, labels[1], strict=True)]
    for one, label in zip(rights, labels[0], strict=True):
        for place, (other, other_label) in enumerate(remaining):
            if label == other_label and _are_equal_readings(one, other, is_inside):
                del remaining[place]
                break
        else:
            return False
    return True


def _as_one_value(several: list[Statement]) -> Value:
    """`2 hours, 30 minutes` as `2 hours 30 minutes`; nothing, if a part is no quantity."""
    pieces = tuple(piece for statement in several for piece in statement)
    is_alternating = [piece.kind for piece in pieces] == [FORMULA, WORDS] * (len(pieces) // 2)
    return Value("", "", pieces if is_alternating else ())


def _as_point(unknowns: list[Reading], point: Reading) -> str | None:
    """`x = 2, y = 3` as `(2, 3)`, if the other answer is such a point, by itself or named `(x, y)`."""
    names = sorted(reading.name for reading in unknowns)
    is_of_letters = len(set(names)) == len(names) and all(len(name) == 1 for name in names)
    if (
        not is_of_letters
        or point.name not in ("", f"({','.join(names)})")
        or not is_bracketed(point.values[-1].formula)
    ):
        return None
    values = {reading.name: reading.values[-1].formula for reading in unknowns}
    return f"({', '.join(values[name] for name in names)})" if all(values.values()) else None


def _joined(readings: list[Reading]) -> str | None:
    """The values as a list that is one formula; `None` if they differ in what they are of, or one is repeated."""
    if len({reading.name for reading in readings}) > 1 or len({*_labels(readings)}) > 1:
        return None
    if any(reading.rough or len(reading.values) > 1 or not reading.values[-1].formula for reading in readings):
        return None
    joined = ", ".join(reading.values[-1].formula for reading in readings)
    values = parsed(joined) if len(readings) > 1 else None  # a set, which merges repeated values
    return None if values is not None and len(values.args) < len(readings) else joined


def _have_same_units(rights: list[Reading], founds: list[Reading]) -> bool:
    units = [measure(readings[0].values[-1].unit) for readings in (rights, founds)]
    return None in units or units[0] == units[1]


def _labels(readings: list[Reading]) -> list[str]:
    values = [reading.values[-1] for reading in readings]
    return [
        reading.name or value.label or canonical_words(value.unit)
        for reading, value in zip(readings, values, strict=True)
    ]


def _are_equal_readings(right: Reading, found: Reading, is_inside: bool) -> bool:
    if _are_other_equations(right, found):
        return _are_equal_equations(right, found)
    if found.rough and not is_rounded(found.values[-1], found.rough):
        return False
    if (found.rough and _are_equal_values(right.values[-1], found.rough[-1], is_inside)) or (
        right.rough and _are_equal_values(right.rough[-1], found.values[-1], is_inside)
    ):
        return True
    return all(_are_equal_values(one, other, is_inside) for one in right.values for other in found.values)


def _are_other_equations(right: Reading, found: Reading) -> bool:
    """Whether both are equations, and not of the same unknown; `3 + 4 = 7` only computes its value."""
    if not all(reading.name or len(reading.values) > 1 for reading in (right, found)):
        return False
    is_computation = not found.name and not any(map(str.isalpha, _COMMAND.sub("", found.text)))
    return _folded(right.name) != _folded(found.name) if right.name else not is_computation


def _folded(name: str) -> str:
    return name.lower() if len(name) == 1 else name


def _are_equal_equations(right: Reading, found: Reading) -> bool:
    if any(text.count("=") > 1 for text in (right.text, found.text)) or right.rough or found.rough:
        return squeezed(right.text) == squeezed(found.text)
    return bool(are_equal_parses(right.text, found.text))


def _are_equal_values(right: Value, found: Value, is_inside: bool) -> bool:
    quantities = (right, found) if right.formula and found.formula else (total(right), total(found))
    if quantities[0] and quantities[1]:
        formulas = in_one_unit(quantities[0], quantities[1])
        return formulas is not None and _are_equal_parts(*formulas, is_inside)
    if len(right.pieces) != len(found.pieces) or not right.pieces:
        return False
    return all(
        one.kind == other.kind
        and (
            _are_equal_parts(one.text, other.text, is_inside)
            if one.kind == FORMULA
            else canonical_words(one.text) == canonical_words(other.text)
        )
        for one, other in zip(right.pieces, found.pieces, strict=True)
    )


def _are_equal_parts(right: str, found: str, is_inside: bool) -> bool:
    verdict = None if is_inside else _are_equal_structures(right, found)
    return are_equal_formulas(right, found) if verdict is None else verdict


def _are_equal_structures(right: str, found: str) -> bool | None:
    sets = condition_of_set(right), condition_of_set(found)
    if sets[0] and sets[1]:
        return sets[0][0] == sets[1][0] and are_equal_answers(sets[0][1], sets[1][1], is_inside=True)
    condition = sets[0] or sets[1]
    if condition:
        if not has_relation(condition[1]):
            return False  # {x | x^2 = 2} is not 2
        return are_equal_answers(sets[0][1] if sets[0] else right, sets[1][1] if sets[1] else found, is_inside=True)
    cases = rows_of_cases(right), rows_of_cases(found)
    if cases[0] is None and cases[1] is None:
        return None
    if cases[0] is None or cases[1] is None or len(cases[0]) != len(cases[1]) or len(cases[0]) > MOST_STATEMENTS:
        return False
    remaining = [*cases[1]]
    for row in cases[0]:
        same = next((other for other in remaining if _are_equal_rows(row, other)), None)
        if same is None:
            return False
        remaining.remove(same)
    return True


def _are_equal_rows(right: list[str], found: list[str]) -> bool:
    return len(right) == len(found) and all(
        are_equal_answers(one, other, is_inside=True) for one, other in zip(right, found, strict=True)
    )


@lru_cache(maxsize=4096)
def is_read_whole(text: str, is_inside: bool = False) -> bool:
    """Whether every part of an answer in normal form is read as a formula, a time, a choice or words."""
    if any(judge(text, text) for judge in _JUDGES):
        return True
    labelled = labelled_content(text)
    if labelled and not is_inside:
        return is_read_whole(labelled[1], is_inside=True)
    readings = [read_statement(statement, True) for statement in statements(_without_braces(text))]
    values = [value for reading in readings for value in (*reading.values, *reading.rough)]
    formulas = [piece.text for value in values for piece in value.pieces if piece.kind == FORMULA]
    return bool(readings) and all(_is_formula_read(formula, is_inside) for formula in formulas)


def _is_formula_read(formula: str, is_inside: bool) -> bool:
    condition, rows = condition_of_set(formula), rows_of_cases(formula)
    inside = [condition[1]] if condition else [cell for row in rows or () for cell in row]
    if inside and not is_inside:
        return all(is_read_whole(part, is_inside=True) for part in inside)
    return all(parsed(part) is not None for part in split_outside_brackets(formula, ":"))
