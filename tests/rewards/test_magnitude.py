import math
import time
from contextlib import suppress

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.rewards.verification.magnitude import MOST_DIGITS, TooLarge, refuse_too_high, refuse_too_large


X, N = sympy.symbols("x n")


def power(base: object, exponent: object) -> sympy.Expr:
    return sympy.Pow(sympy.sympify(base), sympy.sympify(exponent), evaluate=False)


def is_refused(expression: object) -> bool:
    start = time.perf_counter()
    try:
        refuse_too_large(expression)
    except TooLarge:
        return True
    finally:
        assert time.perf_counter() - start < 1.0, "evaluated instead of estimated"
    return False


def times(*factors: sympy.Expr) -> sympy.Expr:
    return sympy.Mul(*factors, evaluate=False)


BILLION = power(10, 9)
TOO_LARGE = {
    "power": power(2, 10**10),
    "negative base": power(-3, power(7, power(7, 7))),
    "tower": power(9, power(9, power(9, 9))),
    "negative exponent": power(2, -(10**6)),
    "power of a power": power(power(10, 1000), 1000),
    "power of a fraction": power(sympy.Rational(1, 3), 10**6),
    "power of a root": power(sympy.sqrt(2), 10**6),
    "power of pi": power(sympy.pi, 10**6),
    "factorial": sympy.factorial(BILLION, evaluate=False),
    "factorial of a factorial": sympy.factorial(sympy.factorial(12, evaluate=False), evaluate=False),
    "double factorial": sympy.factorial2(BILLION, evaluate=False),
    "gamma": sympy.gamma(BILLION, evaluate=False),
    "binomial": sympy.binomial(BILLION, power(10, 6), evaluate=False),
    "exponential": sympy.exp(power(10, 6), evaluate=False),
    "sum of many terms": sympy.Sum(1 / N, (N, 1, power(10, 12))),
    "sum from far below": sympy.Sum(1 / N, (N, -power(10, 12), 1)),
    "product of many factors": sympy.Product(1 + 1 / N, (N, 1, 10**6)),
    "sine of a large angle": sympy.sin(power(10, 1000), evaluate=False),
    "high power of a sum": power(X + 1, 10**5),
    "power of a long sum": power(sum(sympy.symbols("a:z")), 10),
    "inside a sum": sympy.Add(X, power(2, 10**10), evaluate=False),
    "inside a product": times(X, power(2, 10**10)),
    "product of large numbers": times(*[power(10, 999)] * 11),
    "inside a root": power(power(9, 10**6), sympy.Rational(1, 2)),
    "inside a logarithm": sympy.log(power(9, power(9, power(9, 9))), evaluate=False),
    "inside a set": sympy.FiniteSet(1, power(2, 10**10)),
    "inside a tuple": sympy.Tuple(1, power(2, 10**10)),
    "inside an equation": sympy.Eq(X, power(2, 10**10), evaluate=False),
    "inside a matrix": sympy.Matrix([[1, 2], [3, power(2, 10**10)]]),
    "large float": sympy.Float("1e100000"),
    "small float": sympy.Float("1e-100000"),
    "limit of a sum": sympy.Limit(sympy.Sum(N, (N, 1, 10**9)), X, 0),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_expressions_beyond_any_machine_are_refused_without_evaluating_them(name):
    assert is_refused(TOO_LARGE[name])


ORDINARY = {
    "number": sympy.Integer(42),
    "long number": sympy.Integer(10) ** 300,
    "power": power(2, 1000),
    "small tower": power(2, power(2, 10)),
    "symbolic exponent": power(2, N),
    "symbolic exponent of a large base": power(10**50, N + 1),
    "root": power(2, sympy.Rational(1, 1000)),
    "polynomial": (X + 1) ** 10,
    "high degree of one symbol": power(X, 2024),
    "quotient": 1 / (X - 1) ** 3,
    "factorial": sympy.factorial(100, evaluate=False),
    "symbolic factorial": sympy.factorial(N),
    "binomial": sympy.binomial(100, 50, evaluate=False),
    "symbolic binomial": sympy.binomial(2 * N, N),
    "sum": sympy.Sum(N**2, (N, 1, 100)),
    "symbolic sum": sympy.Sum(N**2, (N, 1, X)),
    "infinite sum": sympy.Sum(1 / N**2, (N, 1, sympy.oo)),
    "angle": sympy.sin(sympy.pi / 7),
    "exponential": sympy.exp(-(X**2)),
    "infinity": sympy.oo,
    "interval": sympy.Interval(-sympy.oo, sympy.sqrt(3)),
    "matrix": sympy.Matrix([[1, X], [sympy.pi, 2]]),
    "percentage": times(sympy.Integer(12), sympy.UnevaluatedExpr(sympy.Rational(1, 100))),
    "year of a contest": power(2, 2024) - 1,
    "imaginary": sympy.I * 3 + 4,
    "truth": sympy.true,
    "set": sympy.S.EmptySet,
    "division by zero": times(sympy.Integer(5), power(0, -1)),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_expressions_are_not_refused(name):
    assert not is_refused(ORDINARY[name])


@given(base=st.integers(2, 10**6), exponent=st.integers(1, 10**5))
def test_powers_are_refused_by_their_number_of_digits(base, exponent):
    digits = exponent * math.log10(base)
    if digits > MOST_DIGITS:
        assert is_refused(power(base, exponent))
    if digits < MOST_DIGITS / 2:
        assert not is_refused(power(base, exponent))


@given(number=st.integers(0, 10**5))
def test_factorials_are_refused_by_their_number_of_digits(number):
    digits = math.lgamma(number + 1) / math.log(10)
    if digits > MOST_DIGITS:
        assert is_refused(sympy.factorial(number, evaluate=False))
    if digits < MOST_DIGITS / 4:
        assert not is_refused(sympy.factorial(number, evaluate=False))


TOWERS = ["9^{9^{9^{9}}}", "2^{x^{y^{z}}}", r"\frac{1}{9^{9^{9^9}}}", r"2^{\frac{3^{4^{5}}}{2}}"]
OTHERS = ["9 ^ { 9 ^ { 9 ^ { 9 } } }", r"\binom{99999}{3}", r"\dbinom{ 1000000000 }{500000000}"]


@pytest.mark.parametrize("text", TOWERS + OTHERS)
def test_text_that_parsing_would_evaluate_is_refused_before_it_is_parsed(text):
    with pytest.raises(TooLarge):
        refuse_too_high(text)


@pytest.mark.parametrize(
    "text",
    ["", "2^{10}", "2^{2^{10}}", "x^2 + y^2", "x^{2}y^{3}z^{4}", "e^{-x^{2}}", r"\binom{100}{50}", "x^{a}}^{b}}^{c}"],
)
def test_ordinary_exponents_and_binomials_are_not_refused(text):
    refuse_too_high(text)


@pytest.mark.parametrize("piece", ["^", "{", "}", "x^2", "{^{", r"\binom{"])
def test_a_megabyte_of_exponents_takes_linear_time(growth, piece):
    def refuse(text: str) -> None:
        with suppress(TooLarge):
            refuse_too_high(text)

    assert not growth.superlinear_growth(refuse, lambda size: piece * (size // len(piece)), (10**6,))
