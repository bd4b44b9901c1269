r"""Compare answers in words: `No solutions` is `\emptyset`, `DNE` is `undefined`, a `right` triangle is `right`."""

import re

from .normal_form import words


_ALIKE = (
    ("no solution", "no solutions", "no real solution", "no real solutions", "no roots", "no real roots", "empty set"),
    ("undefined", "not defined", "dne", "does not exist", "doesn t exist", "limit does not exist"),
    ("infinitely many", "infinitely many solutions", "infinite", "infinite solutions", "infinite number of solutions"),
    ("infinity", "positive infinity"),
)
_MEANING = {phrase: group[0] for group in _ALIKE for phrase in group}
_AND = re.compile(" and |[和与及]")
_ARTICLES = ("the ", "a ", "an ")
_HEADS = (" triangle", " function", " angle", " number", " quadrilateral", " series", " sequence", " lines", " matrix")
_SIGNS = {"no solution": (r"\emptyset", r"\{\}", r"\{ \}"), "infinity": (r"\infty", r"+\infty")}


def are_same_words(right: str, found: str) -> bool | None:
    """Whether two answers say the same in words; `None` if one of them is no answer in words."""
    one, other = _meaning(right), _meaning(found)
    if one is None and other is None:
        return None
    if one is not None and other is not None:
        return sorted(_AND.split(one)) == sorted(_AND.split(other)) or any(
            one == other + head or other == one + head for head in _HEADS
        )
    said, formula = (one, found) if one is not None else (other, right)
    return True if formula.strip() in _SIGNS.get(said or "", ()) else None


def _meaning(text: str) -> str | None:
    said = words(text.strip("\"'`"))
    if said is None:
        return None
    for article in _ARTICLES:
        if said.startswith(article) and len(said) > len(article) + 2:
            said = said.removeprefix(article)
    said = said.replace("'", " ")
    return _MEANING.get(said, said)
