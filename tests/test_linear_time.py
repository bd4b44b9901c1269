"""Whatever text a model, a row or a recipe holds, it is read in time linear in its length.

All patterns of the package are found in its source. Each is timed on texts made from its own parts: for each of its
repetitions what leads up to it and many of what it repeats, so that it matches up to the end and fails there.
"""

import ast
import importlib
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import prefix_rft_trl
from prefix_rft_trl.cli.launch.packages import OPTIMIZERS
from prefix_rft_trl.data.answer_forms import asked_forms, stated_forms
from prefix_rft_trl.data.benchmarks import BenchmarkProblem
from prefix_rft_trl.data.check.answer_checks import AnswerCheck, AnswerFormCheck, arrives_at
from prefix_rft_trl.data.check.checked_rows import Columns, read_rows
from prefix_rft_trl.data.check.common_ends import CommonEnds
from prefix_rft_trl.data.check.overlap import OverlapCheck
from prefix_rft_trl.data.check.template_tokens import TemplateTokenCheck
from prefix_rft_trl.data.convert.corruption import corrupt
from prefix_rft_trl.data.convert.thinking import convert_thinking
from prefix_rft_trl.data.gym.grammars import GRAMMARS, INTEGRAL, is_allowed
from prefix_rft_trl.lab.task import exact_answer_reward
from prefix_rft_trl.method.demonstrations import parse_demonstrations, thinking_format
from prefix_rft_trl.method.prefixes import sentence_ends, slice_end
from prefix_rft_trl.rewards.answers import acceptable_golds, find_final_answer, last_statement
from prefix_rft_trl.rewards.math_accuracy import gsm8k_final_number
from prefix_rft_trl.rewards.verification.answer_pieces import statements
from prefix_rft_trl.rewards.verification.braced_answers import condition_of_set, rows_of_cases
from prefix_rft_trl.rewards.verification.choices import are_same_choices, labelled_content
from prefix_rft_trl.rewards.verification.equivalence import settle
from prefix_rft_trl.rewards.verification.formula_forms import names_of_capitals, outside_brackets, squeezed
from prefix_rft_trl.rewards.verification.magnitude import TooLarge, refuse_too_high
from prefix_rft_trl.rewards.verification.normal_form import normal_form
from prefix_rft_trl.rewards.verification.quantities import canonical_words
from prefix_rft_trl.rewards.verification.statement_reading import read_statement
from prefix_rft_trl.rewards.verification.units import measure, without_scale
from prefix_rft_trl.rewards.verification.verbal_answers import are_same_words
from prefix_rft_trl.rewards.verification.whole_parse import is_readable_formula
from prefix_rft_trl.utils.markdown import code, fenced, plain_markdown
from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.redaction import is_secret_name, redacted


Call = Callable[[str], object]

PACKAGE = Path(prefix_rft_trl.__file__).parent


# Patterns of the package

METHODS = ("search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn")
# Examples of the variables that patterns inside of functions are made from
VARIABLES = {
    "pattern": "|".join(OPTIMIZERS),
    "tokens": ["<s>", "[INST]"],
    "anyone": "1,000|1000",
    "self": INTEGRAL,
    "encoder": SimpleNamespace(stop_texts=["<|im_end|>", "</s>"]),
    "word": "1 1 1",
    "patterns": ["####", "answer is"],
    "texts": ["<tool_call>", "</tool_call>", ""],
}


@dataclass(frozen=True)
class Found:
    """A pattern in the source of the package, and the methods by which it is applied."""

    place: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


def find_patterns(package: Path = PACKAGE) -> Iterator[Found]:
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(package.rglob("*.py"))}
    for file, tree in trees.items():
        if calls := [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_of_re(node)]:
            parts = file.relative_to(package.parent).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            names = {**VARIABLES, **vars(importlib.import_module(name))}
            for call in calls:
                assert isinstance(call.func, ast.Attribute)
                pattern, *flags = pattern_and_flags(call)
                compiled = re.compile(eval(pattern, names), *(eval(each, names) for each in flags))
                methods = {call.func.attr}
                if call.func.attr == "compile":
                    methods = methods_of(call, [tree]) or methods_of(call, trees.values()) or {"search"}
                yield Found(f"{name}: {pattern}", compiled, frozenset(methods))


def is_of_re(call: ast.Call) -> bool:
    return ast.unparse(call.func) in {f"re.{name}" for name in ("compile", *METHODS)}


def pattern_and_flags(call: ast.Call) -> list[str]:
    place = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(ast.unparse(call.func).removeprefix("re."), 2)
    flags = [key.value for key in call.keywords if key.arg == "flags"] + call.args[place : place + 1]
    return [ast.unparse(part) for part in (call.args[0], *flags)]


def methods_of(call: ast.Call, trees: Iterable[ast.AST]) -> set[str]:
    """The methods that are called on the name that a compiled pattern has."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign) and node.value is call]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in METHODS]
    return {node.attr for node in attributes if ast.unparse(node.value) in names}


def applied(pattern: re.Pattern[Any], methods: frozenset[str]) -> Call:
    """Applies a pattern as its methods do, to bytes if it is for these."""

    def call(text: str) -> None:
        given: Any = text.encode("utf-8", "surrogatepass") if isinstance(pattern.pattern, bytes) else text
        if methods - {"match", "fullmatch"}:
            deque(pattern.finditer(given), maxlen=0)
        for method in methods & {"match", "fullmatch"}:
            getattr(pattern, method)(given)

    return call


# Texts that are hostile to a pattern

PARSER = re._parser  # type: ignore[attr-defined]
REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
CLASSES = {"DIGIT": "1", "SPACE": " ", "WORD": "a", "NOT_DIGIT": "x", "NOT_SPACE": "x", "NOT_WORD": "-"}
MANY = 200  # repetitions; fewer are a constant factor
MOST_SAMPLES = 12
UNITS = (" ", "\n", "1", "a", "A", "{", "\\", "$", "<", ",", "(", "-", "`", "a ", "1,", "1 ", "#")


def hostile_texts(pattern: re.Pattern[Any]) -> list[tuple[str, str]]:
    """Pairs of a beginning and of what follows it many times."""
    parsed = PARSER.parse(pattern.pattern, pattern.flags if isinstance(pattern.pattern, str) else 0)
    texts = dict.fromkeys(("", unit) for unit in (*UNITS, *samples(parsed)))
    for before, unit in repetitions(parsed):
        texts |= dict.fromkeys([(before, unit), ("", before + unit), ("", before), ("", unit), (before, " ")])
    return [(before, unit) for before, unit in texts if unit]


def repetitions(items: Any, beginnings: Iterable[str] = ("",)) -> Iterator[tuple[str, str]]:
    """What leads up to each repetition without a bound, and what it repeats."""
    before = list(beginnings)
    for operation, argument in items:
        name = str(operation)
        inner = [argument] if name == "ATOMIC_GROUP" else argument[1] if name == "BRANCH" else []
        if name in REPEATS:
            inner = [argument[2]]
            if argument[1] > MANY:
                yield from itertools.product(before, samples(argument[2]))
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
            inner = [argument[-1]]
        for part in inner:
            yield from repetitions(part, before)
        before = thinned([start + text for start in before for text in samples_of(name, argument)])


def samples(items: Any) -> list[str]:
    """Texts that a parsed pattern matches, or nearly so."""
    found = [""]
    for operation, argument in items:
        found = thinned([start + text for start in found for text in samples_of(str(operation), argument)])
    return found


def thinned(texts: list[str]) -> list[str]:
    """The first texts, which leave out what may be left out, and some of the others."""
    distinct, half = list(dict.fromkeys(texts)), MOST_SAMPLES // 2
    return distinct[:half] + distinct[half :: max(1, (len(distinct) - half) // half)][:half]


def samples_of(name: str, argument: Any) -> list[str]:
    if name == "LITERAL":
        return [chr(argument)]
    if name in ("ANY", "NOT_LITERAL"):
        return ["x" if argument != ord("x") else "y"]
    if name == "IN":
        return members(argument)
    if name == "BRANCH":
        return [text for branch in argument[1] for text in samples(branch)[:4]]
    if name in REPEATS:
        return ([""] if argument[0] == 0 else []) + [text * max(argument[0], 1) for text in samples(argument[2])[:4]]
    if name in ("SUBPATTERN", "ASSERT"):
        return samples(argument[-1])
    return samples(argument) if name == "ATOMIC_GROUP" else [""]


def members(items: list[tuple[Any, Any]]) -> list[str]:
    """One character of each part of a class; of a negated class some that it has."""
    named = [(str(operation), argument) for operation, argument in items]
    found = [
        chr(argument if name == "LITERAL" else argument[0])
        if name in ("LITERAL", "RANGE")
        else CLASSES[str(argument).removeprefix("CATEGORY_")]
        for name, argument in named
        if name != "NEGATE"
    ]
    return [sign for sign in " x1-{(\\" if sign not in found][:4] if named[0][0] == "NEGATE" else found[:8]


SIZES_OF_PATTERNS = (20, 24, 28, 256, 1_000, 4_000, 16_000)  # characters; the shortest for exponential patterns


def test_patterns_are_linear(growth):
    slow = [
        f"{found.place} on {text}"
        for found in find_patterns()
        for text in growth.superlinear(
            applied(found.pattern, found.methods), hostile_texts(found.pattern), SIZES_OF_PATTERNS
        )
    ]
    assert slow == []


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r",?\s+(?:since|because)\b", "split"),
        (r"<think>.*?</think>", "sub"),
        (r"\^\s*\{?\s*\\circ\s*\}?\s*\\?,?\s*C$", "sub"),
        (r"(?:answer|result) ####(?!\s*answer\s*:?\s*\n)", "search"),
        (r"[\s^~]*|.*\d+%\|.*\|.*", "fullmatch"),
        (r"\beyJ[\w-]{8,}\.[\w-]+", "sub"),
        (r"(\d+,?)+;", "match"),
        (r"\\boxed\{(.*)\}", "findall"),
    ],
)
def test_patterns_that_are_not_linear_are_found(growth, pattern, method):
    compiled = re.compile(pattern)
    assert growth.superlinear(applied(compiled, frozenset([method])), hostile_texts(compiled), SIZES_OF_PATTERNS)


# Functions that meet the text of a model or a dataset


def check_row(text: str) -> None:
    """What `data check` does with a row, but for the verifier and the tokenizer."""
    row = {"prompt": text, "completion": text, "solution": text}
    checks = (TemplateTokenCheck(), AnswerCheck(SimpleNamespace()), AnswerFormCheck(), OverlapCheck(PROBLEMS))
    for read in read_rows([row], Columns(), [0]):
        for check in checks:
            deque(check.read(read), maxlen=0)


def read_answer(text: str) -> None:
    """What is done with an answer before the parser gets it."""
    for statement in statements(text):
        read_statement(statement, True)
        read_statement(statement, False)
    for formula in (squeezed(text), outside_brackets(text)):
        is_readable_formula(formula)


def refuse(text: str) -> None:
    with suppress(TooLarge):
        refuse_too_high(text)


PROBLEMS = {"problems": [BenchmarkProblem("a 1 x " * 20, None)]}
RNG = np.random.default_rng(0)
READERS: dict[str, Call] = {
    "final answer": find_final_answer,
    "right answers": acceptable_golds,
    "last statement": lambda text: last_statement(text, "1"),
    "last statement of itself": lambda text: last_statement(text, text),
    "gsm8k": lambda text: gsm8k_final_number([text], [text]),
    "lab": lambda text: exact_answer_reward([text], ["1"]),
    "numeric answers": lambda text: settle(text, (text,)),
    "normal form": normal_form,
    "words": lambda text: are_same_words(text, text),
    "statements": read_answer,
    "capitals": names_of_capitals,
    "braces": lambda text: (condition_of_set(rf"\{{{text}\}}"), rows_of_cases(rf"\begin{{cases}}{text}\end{{cases}}")),
    "choices": lambda text: (are_same_choices(text, text), labelled_content(f"(A) {text}")),
    "towers": refuse,
    "units": lambda text: (measure(text), without_scale(text), canonical_words(text)),
    "gym": lambda text: [is_allowed(text, ITEM, grammar) for grammar in (None, *GRAMMARS.values())],
    "data check": check_row,
    "common ends": lambda text: CommonEnds(text, text).without_them(f"{text}1{text}"),
    "forms": lambda text: (asked_forms(text), stated_forms(text)),
    "working": lambda text: arrives_at(text, f"1{text}"),
    "thinking": lambda text: convert_thinking(f"{text}</think>{text}", "strip"),
    "corruption": lambda text: corrupt(rf"{text}\boxed{{1 {text}}}", [text], RNG),
    "demonstrations": lambda text: thinking_format(parse_demonstrations(text)[0]) if text.strip() else None,
    "slices": lambda text: slice_end(sentence_ends(text), 1),
    "escaping": lambda text: (printable(text), plain_markdown(text), fenced(text, "text"), code(text)),
    "redaction": lambda text: (redacted(text), redacted(f"[{text}"), is_secret_name(text)),
}
METADATA = {"numbers": [1], "variable": "x", "variables": ["x"], "integrand": "x", "problem": "1"}
ITEM = {"answer": "1", "metadata": METADATA}
BEFORE = ("", "#### 5", r"\boxed{^\circ", "answer is", "<answer>", r"\boxed", "`", r"\text{", "1")
AFTER = (
    " ", "\n", "1", "a", "{", "}", "{a}", "\\", "$", "$a$, ", "<think>", "</think>", "<answer>", "</answer>", "1,111",
    r"\boxed{", r"\boxed ", r"\boxed 1", "####", "answer is ", "answer:\n", r"^\circ", "_", "-", "=", "1=", ", ", "( ",
    r"\text{", r"\text{a}", "`", "1 000 ", "eyJ-", "&", "\u03c0", "\u00b2", r"\frac{", "**", "and ", "x ", r"\{", ":",
    "|", "\x1b[", "a.", "^{", "://:", "?token", "[", "sk-", "#### ",
)  # fmt: skip


def hostile_to_functions() -> list[tuple[str, str]]:
    return [("", unit) for unit in AFTER] + [(before, unit) for before in BEFORE for unit in (" ", "\n", "1 ", "a")]


@pytest.mark.parametrize("name", READERS)
def test_functions_are_linear(growth, name):
    assert growth.superlinear(READERS[name], hostile_to_functions(), (500, 2_000, 8_000)) == []
