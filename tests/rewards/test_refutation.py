import random
from collections.abc import Iterator

import pytest
import sympy
from math_verify import LatexExtractionConfig, parse, verify

from prefix_rft_trl.rewards.verification.refutation import surely_differ


def read(answer: str) -> list:
    return parse(rf"\boxed{{{answer}}}", [LatexExtractionConfig(boxed_match_priority=0)], parsing_timeout=None)


def both_say(gold: str, answer: str) -> tuple[bool, bool]:
    """Whether the two surely differ, and, only where they do, whether Math-Verify takes one for the other."""
    right, found = read(gold), read(answer)
    differ = bool(right and found) and surely_differ(right[0], found[0])
    return differ, differ and (
        verify(right, found, timeout_seconds=None) or verify(found, right, timeout_seconds=None)
    )


def number(rng: random.Random) -> str:
    a, b = rng.randint(-9, 20), rng.randint(1, 9)
    return rng.choice(
        [
            f"{a}",
            f"{a}.{b}",
            rf"\frac{{{a}}}{{{b}}}",
            rf"\sqrt{{{b}}}",
            r"\pi",
            "e",
            "i",
            rf"{b}\%",
            f"{b}^{{{a % 5 - 2}}}",
            "0.3333333",
            "1.41421",
            "0.0000001",
            "10^{-9}",
            r"\infty",
            rf"\log({b})",
            rf"{a}^\circ",
            r"\text{3}",
        ]
    )


def formula(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return number(rng) if rng.random() < 0.6 else rng.choice("xyn")
    a, b = formula(rng, depth - 1), formula(rng, 0)
    return rng.choice(
        [
            f"{a}+{b}",
            f"{a}-{b}",
            rf"{a} \cdot {b}",
            rf"\frac{{{a}}}{{{b}}}",
            f"({a})^{{{rng.randint(-2, 3)}}}",
            f"|{a}|",
            rf"\sin({a})",
            rf"\tan({a})",
            rf"\sqrt{{{a}}}",
            f"e^{{{a}}}",
            f"{a}!",
        ]
    )


def answer(rng: random.Random) -> str:
    one, two = formula(rng, rng.randint(0, 1)), formula(rng, 0)
    several = [
        f"({one}, {two})",
        rf"\{{{one}, {two}\}}",
        rf"\{{{one}\}}",
        f"{one}, {two}",
        f"[{one}, {two})",
        f"({one},{two}]",
    ]
    named = [f"x = {one}", f"f(x) = {one}", rf"\pm {two}", rf"{one} < {two}", rf"{two}\text{{ cm}}"]
    return formula(rng, rng.randint(0, 2)) if rng.random() < 0.6 else rng.choice(several + named)


def the_same(rng: random.Random, text: str) -> str:
    return rng.choice(
        [
            text,
            f"({text})",
            f"{text}+0",
            rf"1 \cdot ({text})",
            f"-(-({text}))",
            rf"\frac{{2({text})}}{{2}}",
            f"x = {text}",
            rf"\{{{text}\}}",
            f"{text}+0.0000001",
            rf"\text{{{text}}}",
            rf"{text}\text{{ m}}",
            rf"\frac{{{text}}}{{1}}",
        ]
    )


def pairs(number_of_pairs: int) -> Iterator[tuple[str, str]]:
    rng = random.Random(4)
    for _ in range(number_of_pairs):
        one = answer(rng)
        yield one, the_same(rng, one) if rng.random() < 0.5 else answer(rng)


def test_what_surely_differs_is_never_equal_to_math_verify():
    said = [both_say(*pair) for pair in pairs(160)]
    contradicted = [pair for pair, (_, is_equal) in zip(pairs(160), said, strict=True) if is_equal]
    assert contradicted == []
    assert sum(differ for differ, _ in said) > 15


SAME = [
    (r"\text{3}", "3"),
    (r"\text{3/4}", r"\frac{3}{4}"),
    (r"\mathbf{5}", "5"),
    (r"\text{xy}", "xy"),
    ("x y", r"\text{xy}"),
    (r"\mathrm{e}", "e"),
    (r"\text{I}", "i"),
    (r"x - \tan(\frac{\pi}{2})", r"-(-(x - \tan(\frac{\pi}{2})))"),
    (r"50\%", "50"),
    (r"50\%", "0.5"),
    (r"\sqrt{2}", "1.4142136"),
    (r"\frac{1}{3}", "0.3333333"),
    ("3000000.0000001", "3000000"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    (r"\sqrt{x^2}", "|x|"),
    ("10^{15}", "1000000000000000"),
    ("e^{2x}", r"(e^{x})^2"),
    (r"\{2, \frac{4}{2}\}", "2"),
    ("x = 5", "5"),
    ("2, 2", "2"),
]


@pytest.mark.parametrize(("gold", "found"), SAME)
def test_nothing_is_refuted_that_math_verify_may_take_for_the_same(gold, found):
    one, other = read(gold), read(found)
    assert not surely_differ(one[0], other[0])
    assert not surely_differ(other[0], one[0])


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        (r"\sqrt{2}", r"\sqrt{3}"),
        ("x^2 + 1", "x^2 + 2"),
        (r"\frac{1}{3}", "0.34"),
        (r"\frac{\pi}{2}", r"\frac{\pi}{3}"),
        ("x + y", "x - y"),
        ("n^2", "2n + 5"),
        (r"\log 2", r"\log 3"),
        ("3", "(1, 2)"),
        ("[0, 1)", r"\sqrt{2}"),
        (r"\{1, 2\}", "1"),
    ],
)
def test_clearly_different_values_spare_the_algebra(gold, found):
    one, other = read(gold), read(found)
    assert surely_differ(one[0], other[0])
    assert surely_differ(other[0], one[0])


X, Y = sympy.symbols("x y", real=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (sympy.Integral(X, X), X),
        (sympy.Sum(X, (X, 1, 3)), sympy.Integer(7)),
        (sympy.Matrix([1, 2]), sympy.Matrix([1, 3])),
        (sympy.Eq(X, 1), sympy.Eq(X, 2)),
        (sympy.FiniteSet(1, 2), sympy.FiniteSet(1, 3)),
        (sympy.Tuple(1, 1), sympy.Integer(1)),
        (sympy.Function("f")(X), X + 1),
        (sympy.zoo, sympy.Integer(1)),
        (sympy.nan, sympy.Integer(1)),
        (sympy.oo, -sympy.oo),
        ("text", sympy.Integer(1)),
        (sympy.FiniteSet(1, 2), X + 1),
    ],
)
def test_nothing_is_said_of_what_has_no_value(first, second):
    assert not surely_differ(first, second)
    assert not surely_differ(second, first)
