r"""Answers with a structure of their own: sets by a condition, `\{x \mid x > 2\}`, and functions by cases."""

from .formula_forms import split_outside_brackets, squeezed


_CASES = (r"\begin{cases}", r"\end{cases}")
_BARS = ("|", r"\mid", ":", r"\colon")
_REALS = (r"\in\mathbb{R}", r"\in \mathbb{R}", r"\in R")
_WORDS_OF_CASES = (r"\text", r"\mbox", r"\textrm", r"\mathrm", "if", "when", "for")


def condition_of_set(formula: str) -> tuple[str, str] | None:
    r"""The element and the condition of `\{x \mid x > 2\}` or `\{x : x > 2\}`."""
    text = formula.strip()
    if not (text.startswith(r"\{") and text.endswith(r"\}")):
        return None
    element, *conditions = split_outside_brackets(text[2:-2], _BARS)
    if not conditions or not all(conditions):
        return None
    for reals in _REALS:
        element = element.removesuffix(reals).strip()
    return squeezed(element), "|".join(conditions)


def rows_of_cases(formula: str) -> list[list[str]] | None:
    r"""The cells of each row of `\begin{cases}...\end{cases}`, without punctuation and the word `if`."""
    text = formula.strip()
    if not (text.startswith(_CASES[0]) and text.endswith(_CASES[1])):
        return None
    rows = text[len(_CASES[0]) : -len(_CASES[1])].split(r"\\")
    return [[_cell(cell) for cell in row.split("&")] for row in rows if row.strip()]


def _cell(text: str) -> str:
    cell = text.strip().strip(",;.").strip()
    for start in _WORDS_OF_CASES:
        if cell.startswith(start):
            cell = cell.removeprefix(start).strip()
            if start[0] == "\\" and cell.startswith("{") and "}" in cell:
                inside, _, rest = cell[1:].partition("}")
                cell = f"{inside.strip().removeprefix('if').removeprefix('when').removeprefix('for')} {rest}".strip()
    return cell.replace("{is ", "{").replace(" is ", " ")
