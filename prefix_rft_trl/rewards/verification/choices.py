"""Choices by their letters or numbers, which are no factors: `ABD`, `(1)(3)`, `B) 12`."""

import re


_LETTERS = "ABCDEFGHIJ"
_LABEL = re.compile(r"\(?([A-J])(?:\)|\.(?!\d)|:(?= ))\s?(?=\S)")
_LABELS = re.compile(r"(?:\((?:\d{1,2}|[A-J])\)\s?){2,20}")
# What no content of a choice has: another label, `12 (C) 13` or `no, C`, or a verdict on the choice, `is wrong`
_NO_CONTENT = re.compile(
    r"^\s*(?:[,;/&]|(?:or|and|to|is|isn't|not|nor|wrong|incorrect)\b)|(?<![A-Za-z\d}])\([A-J]\)"
    r"|(?<![\w\\{(^])[A-J](?:\)|[.:](?=\s|$))|(?:^|[,;/]|\b(?:or|and|is|it's))\s?[A-J]\b\W{0,3}(?:$|[A-J]\b)"
)
_MARKUP = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox|bf)(?![A-Za-z])|[{}]")
LONGEST = 60  # characters of a list of choices


def chosen(text: str) -> frozenset[str] | None:
    """The letters or numbers of several choices, `A, B, D`, `ABD` or `(1)(3)`, and `or`; `None` for anything else."""
    if len(text) > LONGEST:
        return None
    bare = _MARKUP.sub("", text).strip()
    if _LABELS.fullmatch(bare):
        return frozenset(re.findall(r"\d+|[A-J]", bare))
    if len(bare) > 1 and all(letter in _LETTERS for letter in bare):
        return frozenset(bare) if list(bare) == sorted(set(bare)) else None
    items = [item.strip() for item in bare.replace(" and ", ",").replace(" or ", ",").replace(";", ",").split(",")]
    labels = [item.strip("()") for item in items if item]
    is_list = len(labels) > 1 and len(set(labels)) == len(labels)
    letters = is_list and all(len(label) == 1 and label in _LETTERS for label in labels)
    numbers = is_list and all(
        label.isdecimal() and item == f"({label})" for label, item in zip(labels, items, strict=False)
    )
    return frozenset([*labels, "or"] if " or " in bare else labels) if letters or numbers else None


def is_row_of_labels(text: str) -> bool:
    """Whether a text is a row of numbers in brackets, `(1)(3)`, which is no product."""
    return len(text) <= LONGEST and bool(_LABELS.fullmatch(_MARKUP.sub("", text).strip()))


def labelled_content(text: str) -> tuple[str, str] | None:
    r"""The letter and the content of a choice with both, `B) 12`, `\text{(B)}\ 12` or `E. 42`."""
    bare = " ".join(_MARKUP.sub(" ", text[:LONGEST]).split())
    label = _LABEL.match(bare)
    if not label:
        return None
    letter = label.group(1)
    content = text[text.index(letter) + 1 :].lstrip("}.):").strip()
    if content.count("}") > content.count("{"):
        content = content.removesuffix("}").strip()
    is_content = content and not _NO_CONTENT.search(" ".join(_MARKUP.sub(" ", content).split()))
    return (letter, content) if is_content else None


def are_same_choices(right: str, found: str) -> bool | None:
    """Whether two answers choose the same; `None` if this is no question of choices."""
    one, other = chosen(right), chosen(found)
    if one is not None and other is not None:
        return one == other
    if not (is_row_of_labels(right) or is_row_of_labels(found)):
        return None
    row, text = (one, found) if is_row_of_labels(right) else (other, right)
    return frozenset(text.replace(",", " ").split()) == row
