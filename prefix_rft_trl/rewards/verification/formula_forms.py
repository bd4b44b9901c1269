"""Formulas as text: their spelling without spaces, their parts outside brackets, and names made of capital letters."""

import re
from collections.abc import Sequence


_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_TEXT_COMMANDS = frozenset(
    rf"\{name}" for name in ["text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mbox", "operatorname"]
)
_SAME = {
    r"\leq": r"\le",
    r"\geq": r"\ge",
    r"\neq": r"\ne",
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\mid": "|",
    r"\dots": r"\ldots",
    r"\cdots": r"\ldots",
}
_IN_BRACES = ((r"^{\circ }", r"^\circ "), (r"^{\prime }", "'"), (r"^\prime ", "'"))
_OPENERS = frozenset(("(", "[", "{", r"\{", r"\begin"))
_CLOSERS = frozenset((")", "]", "}", r"\}", r"\end"))
_SINGLE_IN_BRACES = re.compile(r"(?<!\\)\{([0-9A-Za-z])\}")
_CAPITALS = re.compile(r"(?:(?<![A-Za-z\\])|(?<= ))[A-Z](?: ?[A-Z](?![a-z]))+")


def squeezed(formula: str) -> str:
    """The spelling of a formula, without spaces, markup of text, and braces around single signs."""
    tokens = [_SAME.get(token, token) for token in _TOKEN.findall(formula) if token not in _TEXT_COMMANDS]
    text = "".join(
        f"{token} " if token[1:].isalpha() else " " if _is_between_digits(tokens, place) else token.strip()
        for place, token in enumerate(tokens)
    )
    for written, short in _IN_BRACES:
        text = text.replace(written, short)
    return _SINGLE_IN_BRACES.sub(r"\1", text)


def _is_between_digits(tokens: list[str], place: int) -> bool:
    """Whether a space divides two numbers: `4 2` is not 42."""
    return tokens[place].isspace() and all(
        token.isdecimal() for token in (tokens[place - 1], *tokens[place + 1 : place + 2])
    )


def split_outside_brackets(formula: str, separators: Sequence[str]) -> list[str]:
    """The parts of a formula between separators that no bracket encloses."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in _TOKEN.findall(formula):
        if not depth and token in separators:
            parts.append([])
            continue
        depth += (token in _OPENERS) - (token in _CLOSERS and depth > 0)
        parts[-1].append(token)
    return ["".join(part).strip() for part in parts]


def outside_brackets(formula: str) -> str:
    """A formula without what its brackets enclose."""
    kept, depth = [], 0
    for token in _TOKEN.findall(formula):
        depth -= token in _CLOSERS and depth > 0
        if not depth:
            kept.append(token)
        depth += token in _OPENERS
    return "".join(kept)


def names_of_capitals(formula: str) -> list[str]:
    """Products of capital letters, sorted: `AB` is a segment, a matrix product or a word, but never `BA`."""
    without_commands = re.sub(r"\\[A-Za-z]+", lambda command: " " * len(command.group()), formula)
    return sorted(run.replace(" ", "") for run in _CAPITALS.findall(without_commands))
