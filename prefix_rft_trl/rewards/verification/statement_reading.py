"""Read a statement of an answer: the name it gives, the values it equates, and the unit of each."""

import re
from dataclasses import dataclass
from functools import lru_cache

from .answer_pieces import EQUALS, FORMULA, ROUGHLY, WORDS, Piece, Statement
from .formula_forms import outside_brackets, squeezed
from .units import measure


MOST_WORDS_OF_UNIT = 5

_RELATION = re.compile(r"[<>]|\\(?:leq?|leqslant|geq?|geqslant|neq?|in|notin|lt|gt|equiv|to|sim)(?![A-Za-z])|!=")
_FILLERS = frozenset(
    r"""
    the a an is are of we get so thus therefore hence final answer answers value result equals about approximately
    approx roughly around nearly exactly
    """.split()  # noqa: SIM905
)
_NOUNS = frozenset(
    r"""
    total area perimeter volume length width height distance speed sum product probability radius diameter number
    mean median mode minimum maximum min max age price cost
    """.split()  # noqa: SIM905
)
_NOT_OF_UNITS = frozenset(
    r"""
    not no if when for to than least most more less fewer is isn are was maybe perhaps possibly probably wrong
    incorrect false unless except minus plus over remainder r out mod modulo until but or and either neither
    half halves third thirds quarter quarters squared cubed factorial times root below above under zero pi
    can cannot never none nothing fail fails failed does do without excluded excluding rejected omitted discarded
    divided multiplied added subtracted increased decreased reduced doubled tripled twice thrice double triple
    choose upon reciprocal inverse opposite negative positive permille else whichever whatever instead
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety tens hundreds
    lakh lakhs crore crores gross score myriad mil bn
    """.split()  # noqa: SIM905
)
_PART_OF_ONE = re.compile(r"(?:\w+(?:teen|tie|illion|dred|sand|ven)|four|fif|six|eigh|nin|ten|twelf)ths?")
_UNITS_OF_LETTERS = frozenset(["unit", "units", "square", "cubic", "sq", "cu", "only"])
_UNKNOWN = re.compile(r"(?<![A-Za-z\\])[A-Za-z]+")
_LETTERS = re.compile(r"[A-Za-z]|\\[A-Za-z]{2,}")
_OPERATORS = re.compile(r"\\(?:[dt]?frac|sqrt|cdot|times|pi)(?![A-Za-z])")
_BOUND = re.compile(r"\\(?:i*int|sum|prod|lim|max|min|sup|inf|det|gcd|lcm)(?![A-Za-z])")
# Functions of an unknown, whose value is not the unknown's: \ln x, x^n, |x|, x', n(n+1)
_FUNCTION = re.compile(
    r"\\(?:sqrt|ln|log|lg|exp)(?![A-Za-z])|\\l(?:vert|floor|ceil)\s?[a-z]\s?\\r|\^|/|(?<!\\)\|\s?(?:[a-z]|\\[a-z]+)\s?\||[a-z]'+(?!\()|([A-Za-z])\([^()]*\1[^()]*\)"
)
_WAVE = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![A-Za-z])")
_NO_FUNCTION = re.compile(r"\^\s?(?:\\circ|\{ ?(?:-1|\\circ|\\prime) ?\}|-1)")
_RATIO = re.compile(r"\\[dt]?frac\{ ?(?:[dA-Z][^{}]|\\partial)[^{}]*\} ?\{ ?(?:[dA-Z][^{}]|\\partial)[^{}]*\}")
_POINT = re.compile(r"\( ?[A-Za-z](?: ?, ?[A-Za-z])+ ?\)")
_SUBSCRIPT = re.compile(r"_(?:\{[^{}]*\}|\\?\w)")
_CONSTANTS = frozenset("ei")


@dataclass(frozen=True)
class Value:
    """What stands between two equality signs: a formula with or without a unit, else pieces that are only text.

    Attributes:
        formula (`str`): empty if the pieces are not one formula, or are words alone.
        unit (`str`): the words after the formula.
        label (`str`): the words before it, such as `width`.
        pieces (`Statement`): all of it.
    """

    formula: str
    unit: str
    pieces: Statement
    label: str = ""


@dataclass(frozen=True)
class Reading:
    """A statement.

    Attributes:
        name (`str`): of the unknown before the first equality sign; empty if there is none.
        values (`tuple[Value, ...]`): that are said to be equal.
        rough (`tuple[Value, ...]`): what follows a sign of approximation.
        text (`str`): the whole statement.
    """

    name: str
    values: tuple[Value, ...]
    rough: tuple[Value, ...]
    text: str


@lru_cache(maxsize=4096)
def read_statement(statement: Statement, is_right_answer: bool) -> Reading:
    """Read a statement.

    Args:
        statement: from [`statements`].
        is_right_answer (`bool`): a right answer `x + y = 5` is an equation; in a response it states a sum.
    """
    exactly, *roughly = _split(statement, ROUGHLY)
    if roughly and exactly and _is_name(exactly, is_right_answer):  # x ≈ 5 gives x
        exactly, roughly = (*exactly, Piece(EQUALS, "="), *roughly[0]), roughly[1:]
    name, values = _name_and_values(exactly, is_right_answer)
    text = " ".join(piece.text for piece in statement)
    return Reading(name, tuple(map(_value, values)), tuple(_value(_split(side, EQUALS)[-1]) for side in roughly), text)


def _name_and_values(statement: Statement, is_right_answer: bool) -> tuple[str, list[Statement]]:
    first, *others = _split(statement, EQUALS)
    if not others or not all(others):
        return "", [statement]
    if _is_name(first, is_right_answer):
        return squeezed(" ".join(piece.text for piece in first)), others
    if len(others) == 1 and _is_name(others[0], is_right_answer):
        return squeezed(" ".join(piece.text for piece in others[0])), [first]
    has_words = any(piece.kind == WORDS for piece in statement)
    is_relation = any(has_relation(piece.text) for piece in statement if piece.kind == FORMULA)
    return "", [statement] if has_words or is_relation or not first else [first, *others]


def has_relation(formula: str) -> bool:
    """Whether a formula relates two sides by another sign than `=`, outside of brackets."""
    return bool(_RELATION.search(outside_brackets(formula)))


def _split(statement: Statement, kind: str) -> list[Statement]:
    sides: list[list] = [[]]
    for piece in statement:
        if piece.kind == kind:
            sides.append([])
        else:
            sides[-1].append(piece)
    return [tuple(side) for side in sides]


def _is_name(side: Statement, is_right_answer: bool) -> bool:
    """Whether the left side of an equation is the unknown that it gives, as `x_1`, `f(2)`, `Area`, `P(A|B)`."""
    formula = " ".join(piece.text for piece in side if piece.kind == FORMULA)
    if not formula or _POINT.fullmatch(formula):
        return bool(side)
    bare = _SUBSCRIPT.sub("", outside_brackets(formula) if "(" in formula and "frac" not in formula else formula)
    letters = _LETTERS.findall(_OPERATORS.sub(" ", bare))
    if not letters or bare.startswith("-") or _CONSTANTS.issuperset(letters) or _RELATION.search(bare):
        return False
    if not _BOUND.search(formula) and _is_function(formula, letters):
        return False
    if is_right_answer and re.search(r"[-+*/]|\\(?:frac|cdot|times)", bare):
        return False
    digits = re.sub(r"\^(?:\{\d+\}|\d)", "", bare)
    return not re.search(r"\d", bare) or (
        len(set(letters)) > 1 and not re.search(r"\d", digits) and not is_right_answer
    )


def _is_function(formula: str, letters: list[str]) -> bool:
    """Whether a side is a function of an unknown; f(2), AB, m + n and dy/dx are what a problem may ask for."""
    named = _NO_FUNCTION.sub("", _RATIO.sub("", formula))
    outside = outside_brackets(named)
    unknowns = {letter for letter in letters if not _WAVE.fullmatch(letter)}
    is_wave = bool(_WAVE.search(named)) and len(unknowns) == 1 and unknowns.pop().strip("\\").islower()
    is_bar_or_product = bool(_FUNCTION.search(named.replace("^", "").replace("/", "")))
    return "frac" in named or is_wave or bool(_FUNCTION.search(outside)) or is_bar_or_product


@lru_cache(maxsize=4096)
def _value(pieces: Statement) -> Value:
    label, rest = "", pieces
    if len(pieces) > 1 and pieces[0].kind == WORDS:
        words = [word for word in pieces[0].text.lower().split() if word not in _FILLERS]
        if _NOUNS.issuperset(words):
            label, rest = " ".join(words), pieces[1:]
    kinds = [piece.kind for piece in rest]
    if kinds == [FORMULA]:
        return Value(rest[0].text, "", pieces, label)
    if kinds == [FORMULA, WORDS] and _may_be_unit(*(piece.text for piece in rest)):
        return Value(rest[0].text, rest[1].text, pieces, label)
    return Value("", "", pieces)


def _may_be_unit(formula: str, text: str) -> bool:
    """Whether words after a formula name what it counts; after a letter, as in `n even`, they would be a condition."""
    words = text.lower().split()
    if measure(text) is not None:
        return True
    if not _CONSTANTS.issuperset(_UNKNOWN.findall(formula)):
        return _UNITS_OF_LETTERS.issuperset(words)
    return (
        len(words) <= MOST_WORDS_OF_UNIT
        and _NOT_OF_UNITS.isdisjoint(words)
        and not any(map(_PART_OF_ONE.fullmatch, words))
    )
