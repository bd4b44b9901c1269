"""Strip an answer of its decorations, and read the answers that need no algebra: numbers and words."""

import re
import unicodedata
from fractions import Fraction

from .plain_notation import latex_of_plain


_VULGAR = re.compile("[¼-¾⅐-⅞]")
_ROOT = re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[A-Za-z]))")
_SPACING = re.compile(r"(?<!\\)\\(?:[,;:> ]|(?=\d))|~|\\(?:displaystyle|quad|qquad|limits)(?![A-Za-z])")
_DELIMITER_SIZE = re.compile(r"\\(?:left|right|middle|big|Big|bigg|Bigg)[lrm]?(?![A-Za-z])\.?")
_DIGIT_GROUPS = re.compile(r"^[+-]?\d{1,3}(?:[, ]\d{3})+(?=\.\d|$| ?\\(?:text|mathrm|mbox|%)| [A-Za-z]|%)")
_REPEATING = re.compile(r"(?<![\d.])(\d{1,9})\.(\d{0,15})\\overline\{(\d{1,15})\}")
_MIXED_NUMBER = re.compile(r"^([+-]?\d+)\s+(\d+)/(\d+)$")
_E_NOTATION = re.compile(r"^([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d+)$")
_LEADING_SIGN = re.compile(r"^(?:=|\\approx(?![A-Za-z]))\s*")
_SHORT_FRACTION = re.compile(r"\\([dt]?frac)\s*([A-Za-z0-9])\s*([A-Za-z0-9])(?![A-Za-z0-9])")
_TEMPERATURE = re.compile(
    r"\^\s*+(?:\{\s*+)?\\circ\s*+(?:\}\s*+)?(?:\\?,\s*+|\\\s*+(?=[CF\\]))?(?:([CF])|\\(?:text|mathrm)\{\s*+([CF])\s*+\})$"
)
_SCALES_OF_TEMPERATURE = {"C": r"\text{ celsius}", "F": r"\text{ fahrenheit}"}
_CURRENCIES = {"$": "dollars", "€": "euros", "£": "gbp", "¥": "yuan", "₹": "rupees", "₩": "won"}
_CURRENCY = re.compile(
    r"^(\\?\$(?=[^$]*$)|[€£¥₹₩]) ?([+-]?\d[\d,]*(?:\.\d+)?)( (?:thousand|million|billion|trillion))?$"
    r"|^([+-]?\d[\d,]*(?:\.\d+)?) ?(\\\$|[€£¥₹₩])$"
)
_COLOR = re.compile(r"\\(?:text)?color ?\{[A-Za-z]{1,20}\}")
_NAMED_CHOICE = re.compile(r"^(?:[Oo]ption|[Cc]hoice|[Aa]nswer)s? \(?([A-J])\)?$")
_UNIT_IN_WORDS = re.compile(r"^([+-]?[\d.,/]*\d)\s+([A-Za-z]{3,}(?:\s+[A-Za-z]{2,})*)$")
_NUMBER = re.compile(r"^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$")
_FRACTION = re.compile(r"^([+-]?)(?:\\[dt]?frac\{(\d+)\}\{(\d+)\}|(\d+)/(\d+))$")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|operatorname|mbox)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"^(?:[^\W\d_]{3,}|(?:[Nn]o|[Aa]n?|[Ii]s|[Ii]t|[Dd]o)(?=[ ']))(?:[ '-]+[^\W\d_]+)*$")
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]")  # of `NaCl`, which is not `NaCL`
_MOST_DIGITS = 4000  # near the longest text that Python converts to a number


def normal_form(answer: str) -> str:
    """An answer without dollar signs, emphasis, spacing commands and full stop, with its symbols in LaTeX."""
    text = _CURRENCY.sub(_amount_of_money, answer.strip())
    text = _COLOR.sub("", text).replace(r"\$", "").replace("$", "").replace(r"\!", "").strip()
    if text.count("=") > 1:
        text = text.replace(r"\qquad", ", ").replace(r"\quad", ", ")
    text = text.replace(r"\langle", "(").replace(r"\rangle", ")")
    text = _SPACING.sub(" ", _DELIMITER_SIZE.sub("", text)).replace("{,}", ",").replace("{:}", ":")
    if not text.isascii():
        text = _ROOT.sub(lambda root: rf"\sqrt{{{root.group(1) or root.group(2)}}}", text)
        text = _VULGAR.sub(lambda sign: _vulgar_fraction(sign.group()), text)
    text = latex_of_plain(text.replace(r"^\degree", r"\degree").replace(r"\degree", r"^\circ"))
    if r"\overline" in text:
        text = _REPEATING.sub(_repeating_fraction, text)
    text = _LEADING_SIGN.sub("", text.strip().removesuffix(".").strip())
    text = _SHORT_FRACTION.sub(r"\\\1{\2}{\3}", text.replace(r"\varnothing", r"\emptyset"))
    text = _E_NOTATION.sub(r"\1\\times 10^{\2}", _TEMPERATURE.sub(_scale_of_temperature, text))
    text = _DIGIT_GROUPS.sub(lambda groups: re.sub(r"[^\d+-]", "", groups.group()), text)
    text = _MIXED_NUMBER.sub(r"\1\\frac{\2}{\3}", text)
    return _UNIT_IN_WORDS.sub(r"\1\\text{ \2}", text)


def _amount_of_money(written: re.Match[str]) -> str:
    """`$5` or `5 €` as a quantity whose unit is the currency."""
    sign, amount, scale = written.group(1) or written.group(5), written.group(2) or written.group(4), written.group(3)
    return rf"{amount} {scale or ''}\text{{ {_CURRENCIES[sign.removeprefix(chr(92))]}}}"


def _scale_of_temperature(sign: re.Match[str]) -> str:
    return _SCALES_OF_TEMPERATURE[sign.group(1) or sign.group(2)]


def _repeating_fraction(decimal: re.Match[str]) -> str:
    r"""`0.1\overline{6}` as a fraction."""
    whole, once, repeated = decimal.groups()
    digits = f"{whole}{once}"
    nines = int("9" * len(repeated) + "0" * len(once))
    return rf"\frac{{{int(digits + repeated) - int(digits)}}}{{{nines}}}"


def _vulgar_fraction(sign: str) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", sign).partition("\N{FRACTION SLASH}")
    return rf"\frac{{{numerator}}}{{{denominator}}}"


def plain_number(text: str) -> Fraction | None:
    """The value of an integer, decimal or fraction of integers in normal form, else `None`."""
    if len(text) > _MOST_DIGITS:
        return None
    if _NUMBER.match(text) and text.isascii():
        return Fraction(text.removesuffix("."))
    fraction = _FRACTION.match(text)
    if not (fraction and text.isascii()):
        return None
    sign, *parts = fraction.groups()
    numerator, denominator = (int(part) for part in parts if part is not None)
    return Fraction(int(f"{sign}1") * numerator, denominator) if denominator else None


def words(text: str) -> str | None:
    """A verbal answer, such as a name or a choice, in lower case and without markup, else `None`.

    Words have at least three letters, or stand in `\\text{}`: `ab` is a product. A single capital letter is a choice.
    """
    bare = _TEXT.sub(r"\1", text).strip()
    if named := _NAMED_CHOICE.match(bare):
        return named.group(1).lower()
    inner = bare[1:-1].strip() if bare.startswith("(") and bare.endswith(")") else bare
    is_choice = len(inner) == 1 and inner.isupper()
    is_text = bare != text and inner.isalpha()
    said = inner if _INNER_CAPITAL.search(inner) else inner.lower()
    return " ".join(said.split()) if is_choice or is_text or _WORDS.match(inner) else None
