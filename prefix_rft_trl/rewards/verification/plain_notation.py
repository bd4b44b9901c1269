"""Rewrite the notation of plain text, other scripts and Unicode signs into the LaTeX that says the same."""

import re
import unicodedata


SIGNS = {
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{NO-BREAK SPACE}": " ",
    "\N{DEGREE SIGN}": r"^{\circ}",
    "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{DIVISION SIGN}": r"\div ",
    "\N{MIDDLE DOT}": r"\cdot ",
    "\N{DOT OPERATOR}": r"\cdot ",
    "\N{BULLET}": r"\cdot ",
    "\N{SQUARE ROOT}": r"\sqrt ",
    "\N{ANGLE}": r"\angle ",
    "\N{WHITE UP-POINTING TRIANGLE}": r"\triangle ",
    "\N{DOUBLE-STRUCK CAPITAL R}": r"\mathbb{R}",
    "\N{DOUBLE-STRUCK CAPITAL Z}": r"\mathbb{Z}",
    "\N{DOUBLE-STRUCK CAPITAL N}": r"\mathbb{N}",
    "\N{UNION}": r"\cup ",
    "\N{INTERSECTION}": r"\cap ",
    "\N{ELEMENT OF}": r"\in ",
    "\N{PLUS-MINUS SIGN}": r"\pm ",
    "π": r"\pi ",
    "∞": r"\infty ",
    **dict.fromkeys("≤⩽", r"\le "),
    **dict.fromkeys("≥⩾", r"\ge "),
    "≠": r"\ne ",
    "≈": r"\approx ",
    "∅": r"\emptyset ",
    "→": r"\to ",
    "\N{PRIME}": "'",
    "\N{DOUBLE PRIME}": "''",
    "。": ".",
    **dict.fromkeys(("\N{IDEOGRAPHIC COMMA}", "\N{FULLWIDTH COMMA}"), ", "),
    "\N{ARABIC DECIMAL SEPARATOR}": ".",
    "\N{ARABIC THOUSANDS SEPARATOR}": ",",
    **dict.fromkeys("€£¥₹₩", ""),
    **dict.fromkeys("\u201c\u201d\u2018\u2019", '"'),
    **{chr(0x2460 + place): f"({place + 1})" for place in range(20)},  # circled numbers
}
_NAMED = {
    **{
        name: rf"\{name}"
        for name in ["pi", "alpha", "beta", "gamma", "delta", "theta", "lambda", "sigma", "phi", "omega"]
    },
    **dict.fromkeys(("infinity", "inf"), r"\infty"),
    **dict.fromkeys(("percent", "percentage", "pct"), r"\%"),
}
_FUNCTIONS = frozenset(
    """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log max min gcd lcm
    """.split()  # noqa: SIM905
)
_WITHOUT_BRACKETS = frozenset(("sin", "cos", "tan", "ln", "log"))
_ENCLOSING = {  # written around the argument, in place of its brackets
    "sqrt": (r"\sqrt{", "}"),
    "cbrt": (r"\sqrt[3]{", "}"),
    "exp": ("e^{", "}"),
    "abs": ("|", "|"),
    "floor": (r"\lfloor ", r"\rfloor "),
    "ceil": (r"\lceil ", r"\rceil "),
}
_POWERS = ("^", "**")
_MAY_OPEN = frozenset((*_ENCLOSING, *(rf"\{name}" for name in _ENCLOSING), *_POWERS))
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n", strict=True))
_SCRIPTS = re.compile(f"[{''.join(_RAISED)}]+|[{''.join(_LOWERED)}]+")
_PIECE = re.compile(r"\\[A-Za-z]+|\\.|[A-Za-z]+|\d+|\s+|\*\*|.", re.DOTALL)
_CONSTANT = re.compile(r"\\(?:mathrm|text|operatorname|mathit) ?\{ ?([ei]) ?\}|\{\\rm ([ei])\}")


def latex_of_plain(text: str) -> str:
    r"""Text with `pi/2`, `sqrt(2)`, `x**2`, `exp(x)`, `ln(2)`, `\mathrm{e}` and signs of Unicode written as LaTeX.

    Names are read as wholes: `pi` in `2pi`, but not in `pier`; a function needs its argument, as `30 sec` are seconds.
    """
    if not text.isascii():
        text = _SCRIPTS.sub(lambda signs: _script(signs.group()), text)
        text = "".join(SIGNS[sign] if sign in SIGNS else _ascii_of(sign) for sign in text)
    if "e}" in text or "i}" in text:
        text = _CONSTANT.sub(lambda match: f" {match.group(1) or match.group(2)}", text)
    return _rewrite(_PIECE.findall(text))


def _script(signs: str) -> str:
    mark, table = ("^", _RAISED) if signs[0] in _RAISED else ("_", _LOWERED)
    written = "".join(table[sign] for sign in signs)
    return f"{mark}{written}" if len(written) == 1 else f"{mark}{{{written}}}"


def _ascii_of(sign: str) -> str:
    """A digit of any script, and a full-width or mathematical letter, as its ASCII one."""
    if unicodedata.category(sign) == "Nd":
        return str(unicodedata.digit(sign))
    is_form = 0xFF01 <= ord(sign) <= 0xFF5E or 0x1D400 <= ord(sign) <= 0x1D7FF
    return unicodedata.normalize("NFKC", sign) if is_form else sign


def _rewrite(pieces: list[str]) -> str:
    written: list[str] = []
    closers: list[str] = []
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        opener, skipped = _opener(pieces, place) if piece in _MAY_OPEN else (None, 0)
        if opener:
            written.append(opener[0])
            closers.append(opener[1])
            place += skipped
            continue
        exponent = _plain_exponent(pieces, place) if piece in _POWERS else []
        if len(exponent) > 1:
            written.append(f"^{{{''.join(exponent)}}}")
            place += 1 + len(exponent)
            continue
        if piece == "(":
            closers.append(")")
        elif piece == ")":
            piece = closers.pop() if closers else piece
        elif piece == "**":
            piece = "^" if _is_power(pieces, place) else ""
        elif piece.isalpha():
            piece, used = _named(pieces, place)
            place += used
        written.append(piece)
        place += 1
    return "".join(written)


def _opener(pieces: list[str], place: int) -> tuple[tuple[str, str] | None, int]:
    """What a bracket from here on becomes, with its end, and how many pieces that takes: `sqrt(`, `^(`."""
    name, following = pieces[place].removeprefix("\\"), _after(pieces, place)
    if name in _ENCLOSING and following < len(pieces) and pieces[following] == "(":
        is_command = pieces[place][0] == "\\"
        return (_ENCLOSING[name], following + 1 - place) if not is_command or name == "sqrt" else (None, 0)
    if name in _POWERS and pieces[place + 1 : place + 2] == ["("]:
        return ("^{", "}"), 2
    return None, 0


def _plain_exponent(pieces: list[str], place: int) -> list[str]:
    """The pieces of an exponent without braces: `-3` of `10^-3`, `0.5` of `2**0.5`, `-x` of `e^-x`."""
    following = pieces[place + 1 : place + 5]
    sign, rest = (following[:1], following[1:]) if following[:1] == ["-"] else ([], following)
    if rest and rest[0].isdecimal():
        has_fraction = rest[1:2] == ["."] and len(rest) > 2 and rest[2].isdecimal()
        return [*sign, *rest[: 3 if has_fraction else 1]]
    is_letter = bool(sign and rest) and len(rest[0]) == 1 and rest[0].isalpha()
    return [*sign, rest[0]] if is_letter else []


def _named(pieces: list[str], place: int) -> tuple[str, int]:
    """The LaTeX of a run of letters, and how many of the next pieces it has taken in."""
    run, following = pieces[place], _after(pieces, place)
    argument = pieces[following] if following < len(pieces) else ""
    if run in ("sqrt", "frac") and argument == "{":
        return rf"\{run}", 0
    if run in ("x", "X") and argument.isdecimal() and _is_between_numbers(pieces, place):
        return r"\times ", 0
    if run == "sqrt" and (argument.isdigit() or (len(argument) == 1 and argument.isalpha())):
        return rf"\sqrt{{{argument}}}", following - place
    if run in _NAMED:
        return f"{_NAMED[run]} ", 0
    takes_any = run in _WITHOUT_BRACKETS and (argument[:1].isalnum() or argument[:1] in ("\\", "_", "^"))
    if run in _FUNCTIONS and (argument == "(" or takes_any):
        return rf"\{run}{' ' if argument[:1].isalnum() else ''}", 0
    if run[:-1] in _WITHOUT_BRACKETS and run[-1] == "x":
        return rf"\{run[:-1]} x", 0
    return run, 0


def _is_between_numbers(pieces: list[str], place: int) -> bool:
    """Whether `3 x 4` or `3x4` is meant as a product, whose letter is no unknown."""
    has_space = pieces[place + 1].isspace()
    before = pieces[place - 2 : place] if has_space else pieces[place - 1 : place]
    return bool(before) and before[0].isdecimal() and (not has_space or before[-1].isspace())


def _after(pieces: list[str], place: int) -> int:
    following = place + 1
    return following + 1 if following < len(pieces) and pieces[following].isspace() else following


def _is_power(pieces: list[str], place: int) -> bool:
    """Whether `**` stands between a base and an exponent; elsewhere it is Markdown's emphasis."""
    before = pieces[place - 1][-1:] if place else ""
    after = pieces[place + 1][:1] if place + 1 < len(pieces) else ""
    if before.isspace() and after.isspace():
        return 1 < place < len(pieces) - 2
    return (
        bool(before)
        and (before.isalnum() or before in ")}]")
        and bool(after)
        and (after.isalnum() or after in "({-\\")
    )
