"""docs/method.md names functions that exist, and every token law."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefix_rft_trl.method.normalizations import NORMALIZATIONS
from prefix_rft_trl.method.token_laws import TOKEN_LAWS


PAGE = Path(__file__).parents[2] / "docs" / "method.md"
LINK = re.compile(r"\[[^\]]+\]\(([^)]+\.py)\)")


def named_functions() -> Iterator[tuple[str, Path]]:
    """The names in the last column of each table, with the file after them, or else that of the column's title."""
    file = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cell = line.rstrip("| ").rpartition("|")[2] if line.startswith("|") else line
        if cell.strip().startswith("function"):
            file = LINK.search(cell)
            continue
        if not line.startswith("|"):
            file = None
            yield from ((name, PAGE.parent / path) for name, path in re.findall(rf"`(\w+)` in {LINK.pattern}", line))
            continue
        *before, rest = re.split(LINK, cell)
        for text, path in zip(before[::2], before[1::2], strict=True):
            yield from ((name, PAGE.parent / path) for name in re.findall(r"`(\w+)`", text))
        if file is not None:
            yield from ((name, PAGE.parent / file[1]) for name in re.findall(r"`(\w+)`", rest))


@pytest.mark.parametrize(("name", "file"), [pytest.param(*one, id=one[0]) for one in named_functions()])
def test_a_function_that_it_names_is_where_it_says(name, file):
    assert re.search(rf"^ *(def|class) {name}\b", file.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_law_has_its_function_and_every_denominator_a_line():
    text = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|[^\n]*\| `(\w+)` \|$", text, re.MULTILINE))
    assert {law: rows.get(law) for law in TOKEN_LAWS} == {
        law: about.weight.__name__ for law, about in TOKEN_LAWS.items()
    }
    assert set(re.findall(r"`prefix_loss_normalization: (\w+)`", text)) >= set(NORMALIZATIONS)
