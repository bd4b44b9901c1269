import io

import pytest
from rich.console import Console

from prefix_rft_trl.utils.printable import printable
from prefix_rft_trl.utils.tables import TextTable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("over\rwritten", "over␍written"),
        ("back\x08space\x7f", "back␈space␡"),
        ("\x9b2J", "\ufffd2J"),
        ("a\u202eb\u2066c", "a\ufffdb\ufffdc"),
        ("\ud800", "\ufffd"),
        ("a\tb\nc", "a\tb\nc"),
        ("答案 é 👩‍👩‍👧 می‌خواهم [bold]", "答案 é 👩‍👩‍👧 می‌خواهم [bold]"),
    ],
)
def test_a_terminal_obeys_nothing_of_a_text(text, shown):
    assert printable(text) == shown
    assert len(shown) == len(text)  # places in it stay the same


def test_a_table_shows_control_characters():
    console = Console(file=io.StringIO(), width=80)
    for part in TextTable(["name\x1b[2J", "n"], [["row\x07", "1\x9b"]]).parts(80):
        console.print(part)
    text = console.file.getvalue()
    assert printable(text) == text
    assert "name␛[2J" in text
