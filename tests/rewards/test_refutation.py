import random
from collections.abc import Iterator

import pytest
import sympy
from math_verify import LatexExtractionConfig, parse, verify

from prefix_rft_trl.rewards.verification.refutation import surely_differ


def parsed(answer: str) -> list:
    return parse(rf"\boxed{{{answer}}}", [LatexExtractionConfig(boxed_match_priority=0)], parsing_timeout=None)


def compare(gold: str, answer: str) -> tuple[bool, bool]:
    """Whether the two surely differ, and whether Math-Verify contradicts that."""
    right, found = parsed(gold), parsed(answer)
    differ = bool(right and found) and surely_differ(right[0], found[0])
    return differ, differ and (
        verify(right, found, timeout_seconds=None) or verify(found, right, timeout_seconds=None)
    )


def random_number(rng: random.Random) -> str:
    a, b = rng.randint(-9, 20), rng.randint(1, 9)
    return rng.choice([
        f"{a}", f"{a}.{b}", rf"\frac{{{a}}}{{{b}}}", rf"\sqrt{{{b}}}", r"\pi", "e", "i", rf"{b}\%",
        f"{b}^{{{a % 5 - 2}}}", "0.3333333", "1.41421", "0.0000001", "10^{-9}", r"\infty", rf"\log({b})",
        rf"{a}^\circ", r"\text{3}",
    ])  # fmt: skip


def random_formula(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return random_number(rng) if rng.random() < 0.6 else rng.choice("xyn")
    a, b = random_formula(rng, depth - 1), random_formula(rng, 0)
    return rng.choice([
        f"{a}+{b}", f"{a}-{b}", rf"{a} \cdot {b}", rf"\frac{{{a}}}{{{b}}}", f"({a})^{{{rng.randint(-2, 3)}}}",
        f"|{a}|", rf"\sin({a})", rf"\tan({a})", rf"\sqrt{{{a}}}", f"e^{{{a}}}", f"{a}!",
    ])  # fmt: skip


def random_answer(rng: random.Random) -> str:
    a, b = random_formula(rng, rng.randint(0, 1)), random_formula(rng, 0)
    several = [f"({a}, {b})", rf"\{{{a}, {b}\}}", rf"\{{{a}\}}", f"{a}, {b}", f"[{a}, {b})", f"({a},{b}]"]
    named = [f"x = {a}", f"f(x) = {a}", rf"\pm {b}", rf"{a} < {b}", rf"{b}\text{{ cm}}"]
    return random_formula(rng, rng.randint(0, 2)) if rng.random() < 0.6 else rng.choice(several + named)


def equivalent(rng: random.Random, text: str) -> str:
    return rng.choice([
        text, f"({text})", f"{text}+0", rf"1 \cdot ({text})", f"-(-({text}))", rf"\frac{{2({text})}}{{2}}",
        f"x = {text}", rf"\{{{text}\}}", f"{text}+0.0000001", rf"\text{{{text}}}",
        rf"{text}\text{{ m}}", rf"\frac{{{text}}}{{1}}",
    ])  # fmt: skip


def random_pairs(number: int) -> Iterator[tuple[str, str]]:
    rng = random.Random(4)
    for _ in range(number):
        answer = random_answer(rng)
        yield answer, equivalent(rng, answer) if rng.random() < 0.5 else random_answer(rng)


def test_a_refuted_answer_is_never_equal_to_math_verify():
    compared = {pair: compare(*pair) for pair in random_pairs(160)}
    assert [pair for pair, (_, contradicted) in compared.items() if contradicted] == []
    assert sum(differ for differ, _ in compared.values()) > 15


SAME = [  # to Math-Verify
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
DIFFERENT = [
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
]


@pytest.mark.parametrize(("gold", "found"), SAME + DIFFERENT)
def test_clearly_different_values_alone_are_refuted(gold, found):
    one, other = parsed(gold), parsed(found)
    assert surely_differ(one[0], other[0]) == surely_differ(other[0], one[0]) == ((gold, found) in DIFFERENT)


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
def test_expressions_without_a_value_are_not_refuted(first, second):
    assert not surely_differ(first, second)
    assert not surely_differ(second, first)
