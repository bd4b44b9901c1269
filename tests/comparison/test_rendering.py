"""The Markdown lines up in a terminal; the page is one file, and safe whatever a recipe calls its rows."""

import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from prefix_rft_trl.comparison import curves, rendering
from prefix_rft_trl.comparison.report import print_summary, write_report
from prefix_rft_trl.comparison.results import Comparison, ResultRow, ResultTable
from prefix_rft_trl.utils.printable import printable


VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects tags, attributes and text; fails where an element is closed that is not the last one opened."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def test_the_page_is_one_file_that_fetches_nothing_and_has_all_figures(report):
    text = (report / "report.html").read_text()
    page = Page(text)
    assert not re.search(r"https?://|@import|url\(", text)
    assert not {"script", "link", "svg", "iframe", "object"} & set(page.tags)
    assert ("name", "viewport") in page.attributes
    assert "prefers-color-scheme: dark" in text
    assert len(page.values("src")) == len(list((report / "figures").glob("*.svg"))) == 8
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.values("src"))
    assert all("At the end: SFT" in description for description in page.values("alt")[1:3])


def test_a_method_has_its_colour_in_the_tables_too(comparison, report):
    styles = curves.styles([[row.label for row in table.rows] for table in comparison.tables])
    text = (report / "report.html").read_text()
    shown = dict(re.findall(r'<td style="box-shadow: inset 0.35rem 0 (#\w{6})[^>]*>([^<]+)<', text))
    assert {html.unescape(label): colour for colour, label in shown.items()} == {
        label: style.colour for label, style in styles.items()
    }


def test_the_contents_lead_to_each_section(report):
    page = Page((report / "report.html").read_text())
    assert [link[1:] for link in page.values("href")] == page.values("id") == ["section-1", "section-2", "section-3"]


@pytest.mark.parametrize(
    "nasty",
    [
        '<script>alert("x")</script> & `b`',
        "![x](https://example.org/x.png) [y](https://example.org) <https://example.org>",
        '![" onerror="alert(1)](x)',
    ],
)
def test_labels_and_titles_of_recipes_cannot_inject_anything(comparison, tmp_path, undrawn, nasty):
    methods = comparison.tables[0]
    rows = [ResultRow(nasty, [replace(methods.rows[0].experiments[0], settings={nasty: nasty})]), *methods.rows[1:]]
    full = ResultTable(nasty, nasty, [], rows)
    grid = ResultTable(nasty, nasty, [nasty], [ResultRow(nasty, row.experiments[:1]) for row in methods.rows])
    write_report(Comparison(nasty, nasty, 0.8, nasty, [full, grid]), tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert not {"script", "link"} & set(page.tags)
    assert not {"onerror"} & {name for name, _ in page.attributes}
    assert all(source.startswith("data:") for source in page.values("src"))
    assert all(link.startswith("#section-") for link in page.values("href"))
    assert nasty in "".join(page.text[:10])  # as the title of the page


def test_the_markdown_links_its_figures(report):
    links = re.findall(r"^!\[.+\]\(([^)]+)\)$", (report / "report.md").read_text(), re.M)
    figures = {report / link for link in links}
    assert figures | {figure.with_suffix(".png") for figure in figures} == set((report / "figures").iterdir())
    assert len(links) == 8


def test_tables_of_the_markdown_line_up_and_a_bar_in_a_label_makes_no_cell(report):
    tables = re.findall(r"(?:^\|.*\n)+", (report / "report.md").read_text(), re.M)
    assert len(tables) == 10
    assert all(re.match(r"\| {3,}\|", table) for table in tables[:2])  # an empty title of the first column
    for lines in map(str.splitlines, tables):
        assert len({len(line) for line in lines}) == 1
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (950, "950"), (999.6, "1.00k"), (9_870, "9.87k"), (9_996, "10.0k"), (99_960, "100k"), (412_345, "412k"),
     (999_600, "1.00M"), (1_240_000, "1.24M")],
)  # fmt: skip
def test_tokens_have_three_digits(count, text):
    assert rendering.format_tokens(count) == text


def test_seconds_and_settings_read_as_they_are_written():
    seconds = {4.21: "4.2 s", 9.97: "10 s", 31.4: "31 s", 1240: "1,240 s"}
    assert {value: rendering.format_seconds(value) for value in seconds} == seconds
    settings = [(2e-4, "0.0002"), (True, "true"), (None, "null"), ("no", "no"), ("", '""'), ([1, "a"], '[1, "a"]')]
    assert [rendering.format_setting(value) for value, _ in settings] == [text for _, text in settings]


NASTY = {
    "a link": "[a](https://example.org)",
    "an image": "![a](https://example.org/x.png)",
    "HTML": "<img src=x onerror=alert(1)>",
    "a link by itself": "<https://example.org>",
    "a heading": "# owned",
    "a second line": "a\n\n# owned\n\n- b",
    "a quotation": "> owned",
    "a list": "1. owned",
    "emphasis": "**owned** _owned_ ~~owned~~",
    "a code block": "```\nowned\n```",
    "half a code block": "`owned",
    "a cell": "a | b",
    "a footnote": "a[^1]",
    "an entity": "&lt;script&gt;",
    "a terminal": "\x1b[2J\u202eowned",
    "a formula": "$x^2$ owned",
}


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_the_markdown_shows_titles_and_labels_as_they_are_written(comparison, tmp_path, undrawn, nasty):
    methods = comparison.tables[0]
    rows = [ResultRow(nasty, methods.rows[0].experiments), *methods.rows[1:]]
    write_report(Comparison(nasty, nasty, 0.8, nasty, [ResultTable(nasty, nasty, [], rows)]), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert printable(text) == text
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    inline = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in [*tokens, *inline]}
    assert not kinds & {"html_block", "html_inline", "link_open", "em_open", "s_open", "list_item_open"}
    assert "blockquote_open" not in kinds
    images = [token.attrGet("src") for token in inline if token.type == "image"]
    assert all(source.startswith("figures/") for source in images)
    headings = [tokens[place + 1].content for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert not any(heading.startswith("owned") for heading in headings)
    assert not re.search(r"(?<!\\)\$", text.partition("Accuracy: ")[2])  # after the command
    shown = "".join(child.content for child in inline if child.type in ("text", "code_inline"))
    assert "owned" not in nasty or "owned" in shown
    cells = {row.count("|") - row.count(r"\|") for row in text.splitlines() if row.startswith("| a")}
    assert cells <= {4, 5, 6, 7}  # of columns that there are


def test_no_control_character_of_a_label_reaches_the_terminal(comparison, capsys):
    rows = [ResultRow(f"{NASTY['a terminal']}{n}", row.experiments) for n, row in enumerate(comparison.tables[0].rows)]
    print_summary(replace(comparison, tables=[replace(comparison.tables[0], rows=rows)]))
    shown = capsys.readouterr().out
    assert printable(shown) == shown
    assert "owned" in shown


def test_a_dash_in_a_cell_is_not_escaped_and_a_method_keeps_its_colour_whatever_it_is_called(
    comparison, tmp_path, undrawn
):
    label, (row, *_) = "- a | b", comparison.tables[0].rows
    settings = [replace(row.experiments[0], settings=given) for given in ({}, {"share": 0.3})]
    grid = ResultTable("Shares", "", ["none", "some"], [ResultRow(label, settings)])
    write_report(replace(comparison, tables=[grid]), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| - / 0.3 " in text
    assert r"\-" not in text
    assert re.search(r'<td style="box-shadow[^>]*>- a \| b<', (tmp_path / "report.html").read_text())
