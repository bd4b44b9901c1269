"""Check an answer against the grammar of its task before a scorer that evaluates text sees it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


LONGEST = 4_000  # characters of a text that is evaluated
DEEPEST = 40  # nested brackets
FUNCTIONS = frozenset(
    {
        "exp", "log", "ln", "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh",
        "tanh", "asinh", "acosh", "atanh", "Abs", "pi", "E",
    }
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ATTRIBUTE = re.compile(r"\.(?![0-9])")
_HEXADECIMAL = re.compile(r"\b0[xX][0-9a-fA-F]+\b", re.ASCII)
_NOT_FINITE = re.compile(r"(?<![A-Za-z])(?:nan|inf|infinity)[ij]?(?![A-Za-z])", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True)
class AnswerGrammar:
    """
    What the texts of a task may be made of.

    Attributes:
        characters (`str`): all characters of a text, as in a class of a regular expression.
        names (`Callable`, *optional*): from an item to the names that a text may hold; by default letters are as free
            as the characters say.
        without (`tuple[str, ...]`): operators made of allowed characters that are none of the task's.
        texts (`Callable`): from an item to those of its own texts that the scorer evaluates.
        fits (`Callable`): whether a text is an answer to an item at all, where the scorer does not ask.
    """

    characters: str
    names: Callable[[dict[str, Any]], set[str]] | None = None
    without: tuple[str, ...] = ()
    texts: Callable[[dict[str, Any]], list[Any]] = lambda item: []
    fits: Callable[[str, dict[str, Any]], bool] = lambda text, item: True

    def allows(self, text: Any, item: dict[str, Any]) -> bool:
        if not isinstance(text, str) or len(text) > LONGEST or re.search(f"[^{self.characters}]", text, re.ASCII):
            return False
        if _ATTRIBUTE.search(text) or any(operator in text for operator in self.without) or _depth(text) > DEEPEST:
            return False
        return self.names is None or set(_NAME.findall(_HEXADECIMAL.sub("0", text))) <= self.names(item)


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _uses_numbers(text: str, item: dict[str, Any]) -> bool:
    return sorted(map(int, re.findall("[0-9]+", text))) == sorted(item["metadata"]["numbers"])


def _with_functions(*variables: str) -> set[str]:
    return {*FUNCTIONS, *(name for name in variables if re.fullmatch("[A-Za-z]", name))}


ARITHMETIC = AnswerGrammar(r"\s0-9+\-*/()", without=("**", "//"))
LISTS = AnswerGrammar(r"""\s0-9+\-.,\[\]()'\"""")
INTEGRAL = AnswerGrammar(
    r"\s0-9A-Za-z+\-*/().,",
    names=lambda item: _with_functions("C", str(item["metadata"]["variable"])),
    texts=lambda item: [item["metadata"]["integrand"]],
)

# The tasks whose scorers reach an evaluator, as `find_evaluators` says, or take every answer
GRAMMARS = {
    "binary_matrix": LISTS,
    "bitwise_arithmetic": AnswerGrammar(
        r"\s0-9A-Fa-fXx+\-*<>()",
        names=lambda item: set(),
        without=("**",),
        texts=lambda item: [item["metadata"]["problem"]],
    ),
    "countdown": ARITHMETIC,
    "game_of_life_halting": AnswerGrammar("A-Za-z", fits=lambda text, item: text == item["answer"]),
    "intermediate_integration": INTEGRAL,
    "n_queens": AnswerGrammar(r"""\sQ_,\[\]()'\""""),
    "number_sorting": AnswerGrammar(LISTS.characters, texts=lambda item: [item["answer"]]),
    "polynomial_multiplication": AnswerGrammar(
        r"\s0-9A-Za-z+\-*/()",
        names=lambda item: _with_functions(*map(str, item["metadata"]["variables"])) - FUNCTIONS,
        texts=lambda item: [item["answer"]],
    ),
    "pool_matrix": AnswerGrammar(r"\s0-9+\-.,"),
    "puzzle24": replace(ARITHMETIC, fits=_uses_numbers),
    "simple_integration": INTEGRAL,
    "sokoban": AnswerGrammar(r"\sA-Za-z,"),
    "spiral_matrix": LISTS,
    "string_insertion": AnswerGrammar(r"""\sA-Z,\[\]()'\""""),
}


def is_allowed(answer: str, item: dict[str, Any], grammar: AnswerGrammar | None) -> bool:
    """Whether a scorer may see an answer: its text, and those of the item that are evaluated, follow the grammar.

    Of no grammar at all is `nan`, which some scorers find equal to every number.
    """
    gold = item["answer"]
    if isinstance(gold, str) and not _WORD.search(gold) and _NOT_FINITE.search(answer):
        return False
    if grammar is None:
        return True
    return all(grammar.allows(text, item) for text in (answer, *grammar.texts(item))) and grammar.fits(answer, item)
