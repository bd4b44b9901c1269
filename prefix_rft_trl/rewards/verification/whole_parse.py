"""Parse a formula whole or not at all, and compare two of them by Math-Verify.

Math-Verify looks for formulas in a text and takes the last that parses. Here the parser under it gets the formula
itself, which it reads to the end, and only if the formula has nothing that the parser would skip or misread.
"""

import logging
import re
from functools import lru_cache
from typing import Any

from .exact_numbers import have_same_number
from .magnitude import refuse_too_high, refuse_too_large
from .refutation import surely_differ


_COMMAND = re.compile(r"\\([A-Za-z]+)")
_READ = frozenset(
    r"""
    frac dfrac tfrac cfrac sqrt binom dbinom tbinom choose times cdot div pm mp
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp lim int sum prod max min gcd lcm det
    pi alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau
    upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar
    le leq leqslant ge geq geqslant lt gt ne neq in notin infty emptyset cup cap setminus subset subseteq
    lfloor rfloor lceil rceil lvert rvert vert langle rangle lbrace rbrace begin end circ degree angle triangle
    mathbb mathbf mathrm mathcal text textbf textit textrm mbox operatorname overline bar hat vec tilde widehat
    overrightarrow quad qquad
    """.split()  # noqa: SIM905
)
_SKIPPED = re.compile(r"['\"?@#&`…]|\.\.|\\\\|[A-Za-z)}\]]\s*\.\s*\d")
_MISREAD = re.compile(r"\^ ?\{? ?(?:T(?![A-Za-z])|\\top|\*|\\ast)|\d_")
_DATE_OR_CODE = re.compile(
    r"(?<![\d/-])(?:\d{4}-\d\d?-\d\d?|\d\d?-\d\d?-\d{4}|\d{3,4}-\d{4}|\d{1,20}/\d{1,20}/\d{1,20})(?![\d-])"
)
_NAMED_GAMMA = re.compile(r"\\Gamma(?![A-Za-z]| ?\()")  # which the parser takes for Euler's constant
_ANGLE_OF_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-z])[^\\]*\^ ?\{? ?\\circ")
_TWO_NUMBERS = re.compile(r"(?<![_^\d])\d+\s+\.?\d")
_ENVIRONMENT = re.compile(r"\\begin\{(\w+)\}")
_MATRICES = frozenset(["matrix", "pmatrix", "bmatrix", "vmatrix", "Vmatrix", "array", "smallmatrix"])
_NUMBER_PAIR = re.compile(r"((?<![_^\d])\d+|\))[ ]?\((?=[-+]?\d)")


@lru_cache(maxsize=4096)
def parsed(formula: str) -> Any | None:
    """The sympy expression of a formula in normal form, unevaluated; `None` unless all of it is read.

    Raises:
        TooLarge: if it is too large to compute with.
    """
    if not is_readable_formula(formula):
        return None
    import sympy
    from latex2sympy2_extended.latex2sympy2 import (
        ConversionConfig,
        NormalizationConfig,
        latex2sympy,
        normalize_latex,
    )
    from math_verify.grader import should_treat_as_complex

    refuse_too_high(formula)
    without_extraction = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="last")
    text = normalize_latex(_NAMED_GAMMA.sub("G_{amma}", _NUMBER_PAIR.sub(r"\1\\cdot (", formula)), without_extraction)
    try:
        found = latex2sympy(
            text,
            is_real=not should_treat_as_complex(text),
            convert_degrees=bool(_ANGLE_OF_FUNCTION.search(text)),
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except Exception:  # the parser raises bare exceptions
        return None
    if isinstance(found, sympy.Basic) and found.has(sympy.Derivative, sympy.conjugate, sympy.Subs):
        return None  # dy/dx would be 0
    refuse_too_large(found)
    return found


def is_readable_formula(formula: str) -> bool:
    """Whether the parser would skip or misread nothing: unknown commands, quotes, dots, number pairs, dates."""
    environments = _ENVIRONMENT.findall(formula)
    if not formula or not _MATRICES.issuperset(environments):
        return False
    if not _READ.issuperset(_COMMAND.findall(formula.replace(r"\boxed", ""))):
        return False
    if any(pattern.search(formula) for pattern in (_TWO_NUMBERS, _MISREAD, _DATE_OR_CODE)):
        return False
    return bool(environments) or not _SKIPPED.search(formula)


def are_equal_expressions(right: Any, found: Any) -> bool:
    """Whether two parsed formulas are equal."""
    import sympy
    from math_verify import verify

    if any(isinstance(one, sympy.MatrixBase) for one in (right, found)):
        right, found = _as_vector(right), _as_vector(found)
    if any(_is_range(one) and is_pair(other) for one, other in ((right, found), (found, right))):
        return False  # Math-Verify reads 1, 6 as (1, 6)
    if any(_is_statement(one) for one in (right, found)) and type(right) is not type(found):
        return False  # 1 < 2 says nothing
    names = [getattr(one, "name", "") for one in (right, found) if getattr(one, "is_Symbol", False)]
    if len(names) == 2:
        return names[0] == names[1] or (max(map(len, names)) == 1 and names[0].lower() == names[1].lower())
    if type(right) is type(found) in (sympy.Tuple, sympy.Interval):
        ends = 2 if isinstance(right, sympy.Interval) else len(right.args)
        pairs = zip(right.args[:ends], found.args[:ends], strict=False)
        is_alike = len(right.args) == len(found.args) and right.args[ends:] == found.args[ends:]
        return is_alike and all(are_equal_expressions(*pair) for pair in pairs)
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    same = have_same_number(right, found)
    if same is not None or surely_differ(right, found):
        return bool(same)
    # x > 3 equals (3, \infty)
    return verify(right, found, allow_set_relation_comp=True, timeout_seconds=None)


def _as_vector(expression: Any) -> Any:
    """A column, and `(1, 2)` beside one, as a tuple."""
    import sympy

    if isinstance(expression, sympy.MatrixBase) and expression.cols == 1 < expression.rows:
        return sympy.Tuple(*expression)
    is_open = isinstance(expression, sympy.Interval) and expression.left_open and expression.right_open
    return sympy.Tuple(*expression.args[:2]) if is_open else expression


def _is_range(expression: Any) -> bool:
    import sympy
    from latex2sympy2_extended.logic import And

    inequalities = (sympy.StrictLessThan, sympy.LessThan, sympy.StrictGreaterThan, sympy.GreaterThan, sympy.Ne)
    return isinstance(expression, (And, *inequalities)) or (
        isinstance(expression, sympy.Union) and any(isinstance(part, sympy.Interval) for part in expression.args)
    )


def is_pair(expression: Any) -> bool:
    """Whether an expression is a list of several values."""
    import sympy

    return isinstance(expression, (sympy.Tuple, sympy.FiniteSet)) and len(expression.args) > 1


def _is_statement(expression: Any) -> bool:
    import sympy

    return isinstance(expression, sympy.core.relational.Relational) and not expression.free_symbols
