"""Each way of parsing reads all answers in a process of its own, because ANTLR caches what it has learned."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from latex2sympy2_extended import latex2sympy2

from prefix_rft_trl.rewards.verification.two_stage_parsing import use_two_stage_parsing
from prefix_rft_trl.rewards.verification.workers import WARM_UP


def answers() -> Iterator[str]:
    rng = random.Random(7)
    for _ in range(14):
        a, b, c = (rng.randint(2, 60) for _ in range(3))
        x, y = rng.sample("xyznkab", 2)
        yield from [
            rf"\frac{{{a}\sqrt{{{b}}}}}{{{c}}}",
            rf"\left({a}, \frac{{\pi}}{{{b}}}\right]",
            rf"\{{{a}, {b} + {c}i, -{b}\}}",
            rf"{a}{x}^{{{b % 9}}} - \frac{{{x}}}{{{b}}} + {c}{y}",
            rf"\sin^2({a}{x}) + \cos {b}{y} \cdot \log_{{{c}}} {x}",
            rf"{x} = {a} \pm {b}\sqrt{{{c}}}",
            rf"{a} \le {x} < {b} + {c}",
            rf"[{a}, {a + b}) \cup ({a + b + c}, \infty)",
            rf"\begin{{pmatrix}} {a} & {x} \\ -{b} & {c}^2 \end{{pmatrix}}",
            rf"{a}.{b}\% + {c}^\circ",
            rf"|{x} - {a}| \binom{{{b}}}{{2}} {c % 6}!",
        ]
    yield from WARM_UP
    yield from ["", "x +", r"\frac{1}{", r"\sqrt{}", "((1)", "1 + + 2", r"\text{no}", "a b c", "5 6", "f(x) = 2 x"]
    yield from ["x y z !", r"\int_0^1 x^2 dx", r"\sum_{k=1}^{n} k^2", r"\lim_{x \to 0} x", r"x \equiv 3 \pmod 7"]
    yield from ["1, 2, (3, 4)", "|a|b|"]


PARSE_ALL = """
import json, logging, sys
logging.disable(logging.CRITICAL)
from math_verify import LatexExtractionConfig, parse
from sympy import srepr
from prefix_rft_trl.rewards.verification.two_stage_parsing import use_two_stage_parsing

answers, in_two_stages = json.load(sys.stdin)
if in_two_stages:
    use_two_stage_parsing()
boxed = [LatexExtractionConfig(boxed_match_priority=0)]
trees = [parse("\\\\boxed{" + answer + "}", boxed, parsing_timeout=None) for answer in answers]
print(json.dumps([[tree if isinstance(tree, str) else srepr(tree) for tree in found] for found in trees]))
"""


def trees(in_two_stages: bool) -> list[list[str]]:
    request = json.dumps([[*answers()], in_two_stages])
    done = subprocess.run(
        [sys.executable, "-c", PARSE_ALL], input=request, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_two_stages_give_the_same_trees_as_one():
    one_stage, two_stages = trees(False), trees(True)
    assert [*zip(answers(), two_stages, strict=True)] == [*zip(answers(), one_stage, strict=True)]
    assert sum(map(bool, one_stage)) > 150


@pytest.fixture
def own_parser_class(monkeypatch):
    monkeypatch.setattr(latex2sympy2, "PSParser", latex2sympy2.PSParser)  # restored after the test
    return latex2sympy2.PSParser


def test_math_verify_still_parses_with_the_replaced_class(own_parser_class, monkeypatch):
    assert callable(own_parser_class.math)
    use_two_stage_parsing()
    assert issubclass(latex2sympy2.PSParser, own_parser_class)
    read = []
    monkeypatch.setattr(
        latex2sympy2.PSParser, "math", lambda parser: read.append(parser) or own_parser_class.math(parser)
    )
    assert str(latex2sympy2.latex2sympy("q + 7")) == "q + 7"
    assert len(read) == 1


def test_the_second_stage_parses_what_the_first_cannot(own_parser_class, monkeypatch):
    modes = []

    def fail_first(parser: object) -> object:
        modes.append(parser._interp.predictionMode)
        if len(modes) == 1:
            parser.consume()
            raise ValueError("a syntax error, after a token was read")
        return plain_math(parser)

    plain_math = own_parser_class.math
    monkeypatch.setattr(own_parser_class, "math", fail_first)
    use_two_stage_parsing()
    assert str(latex2sympy2.latex2sympy("7 + q")) == "q + 7"
    assert len(set(modes)) == 2


def test_enabling_two_stages_twice_changes_nothing(own_parser_class):
    use_two_stage_parsing()
    once = latex2sympy2.PSParser
    use_two_stage_parsing()
    assert latex2sympy2.PSParser is once


def test_a_missing_parser_class_is_no_error(own_parser_class, monkeypatch):
    monkeypatch.delattr(latex2sympy2, "PSParser")
    use_two_stage_parsing()
    assert not hasattr(latex2sympy2, "PSParser")
