"""The documentation as a site: built without a warning, without a dead link, readable without a network."""

import json
import os
import re
import subprocess
import sys
import tomllib
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.config import load_config
from PIL import Image


ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path.parent.name != "site")
COLUMNS = 100  # of code, on a screen of 1280 pixels
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    silent = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's, about its successor
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=silent)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Html(HTMLParser):
    """The references of a page, and the anchors in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {"", "__top"}  # the second is the theme's
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in ("img", "script", "iframe", "source") and attributes.get("src"):
            self.loaded.append(attributes["src"])
        if tag == "link" and attributes.get("href") and attributes.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(attributes["href"])


def parse_pages(site: Path) -> dict[Path, Html]:
    return {page: Html(page.read_text()) for page in site.rglob("*.html")}


def named_in(sheet: str) -> list[str]:
    return re.findall(r'url\("?([^")]+)"?\)', sheet)


def code_points(unicode_range: str) -> set[int]:
    """The characters of a `unicode-range` of CSS: `U+20-7E, U+A0`."""
    ends = [part.strip().removeprefix("U+").split("-") for part in unicode_range.split(",")]
    return {point for end in ends for point in range(int(end[0], 16), int(end[-1], 16) + 1)}


def dead_references(site: Path) -> list[str]:
    """References to a file or an anchor that does not exist. What lies outside of the site is the checkout's."""
    pages, found = parse_pages(site), []
    for page, html in pages.items():
        for reference in [*html.links, *html.loaded]:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            start = site if parts.path.startswith("/") else page.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
            if target == site and page.name == "404.html":  # served in place of any page, from the root
                continue
            if not target.is_relative_to(site):
                target = ROOT / target.relative_to(site.parent)
            lacks_anchor = target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.exists() or lacks_anchor:
                found.append(f"{page.relative_to(site)}: {reference}")
    return found


def test_no_link_is_dead_and_no_picture_missing(site):
    assert dead_references(site) == []


def test_the_site_needs_no_network(site):
    loaded = {reference for html in parse_pages(site).values() for reference in html.loaded}
    assert [reference for reference in loaded if urlsplit(reference).netloc] == []
    sheets = {sheet: sheet.read_text() for sheet in (site / "site").glob("*.css")}
    assert sheets
    assert all("@import" not in text for text in sheets.values())
    assert [
        name for sheet, text in sheets.items() for name in named_in(text) if not (sheet.parent / name).is_file()
    ] == []


def test_the_search_works_in_a_folder_without_a_server(site):
    index = json.loads((site / "search" / "search_index.js").read_text().removeprefix("var __index = "))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert found == {page.replace(".md", ".html") for page in PAGES}
    assert any("prefix_top_entropy_quantile" in entry["text"] for entry in index["docs"])  # not broken at `_`
    pages = {page: parsed.loaded for page, parsed in parse_pages(site).items() if page.name != "404.html"}
    assert [page.name for page, loaded in pages.items() if not any("iframe-worker.js" in one for one in loaded)] == []


def test_what_can_be_wider_than_the_page_scrolls_by_the_keyboard_and_shows_that_it_does():
    script, sheet = (DOCS / "site" / "site.js").read_text(), (DOCS / "site" / "site.css").read_text()
    watched = re.search(r'querySelectorAll\("(.*?)"\)', script)[1].split(", ")
    cue = next(rule for rule in sheet.split("}") if "100% scroll" in rule)
    assert {*watched, ".md-typeset pre > code"} == set(re.split(r",\s*", cue.partition("{")[0].strip()))
    assert all(f"{region}:focus-visible" in sheet for region in watched)


def test_no_line_of_code_is_wider_than_a_page():
    wide = [
        f"{page}: {line}"
        for page in PAGES
        for block in FENCED.findall((DOCS / page).read_text())
        if not block.startswith("```math")
        for line in block.splitlines()
        if len(line) > COLUMNS
    ]
    assert wide == []


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("<code>prefix_ratio_low</code>", "<code>prefix_<wbr>ratio_<wbr>low</code>"),
        ("<code>bf16</code> a_b", "<code>bf16</code> a_b"),
        ("<code>no column a_b</code>", "<code>no column a_b</code>"),
    ],
)
def test_names_in_tables_may_be_broken_at_an_underscore(cell, shown, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site")
    from hooks import on_post_page

    page = "<p><code>a_b</code></p><table>{}</table><p><code>a_b</code></p>"
    assert on_post_page(page.format(f"<td>{cell}</td>"), None, None) == page.format(f"<td>{shown}</td>")


@pytest.mark.parametrize("figure", sorted(path.name for path in DOCS.rglob("*.png")))
def test_a_figure_is_opaque_so_that_it_can_be_read_on_a_dark_page(figure):
    path = next(DOCS.rglob(figure))
    assert Image.open(path).convert("RGBA").getextrema()[3] == (255, 255)


def test_a_drawn_figure_has_a_background():
    figures = sorted(DOCS.rglob("*.svg"))
    assert figures
    for figure in figures:
        text = figure.read_text()
        width, height = re.search(r'viewBox="0 0 (\S+) (\S+)"', text).groups()
        assert f'<path d="M 0 {height} L {width} {height} L {width} 0 L 0 0 z' in text, figure.name


@pytest.mark.parametrize("page", [page for page in PAGES if "```math" in (DOCS / page).read_text()])
def test_every_equation_is_mathml(site, page):
    text = (DOCS / page).read_text()
    html = (site / page).with_suffix(".html").read_text()
    equations = re.findall(r"<math.*?</math>", html, re.DOTALL)
    inline = len(re.findall(r"\$`[^`]+`\$", FENCED.sub("", text)))
    assert (len(equations), html.count('display="block"')) == (inline + text.count("```math"), text.count("```math"))
    assert [equation for equation in equations if "\\" in equation] == []  # a command that was not converted


def test_the_math_font_has_every_character_of_the_equations(site):
    in_font = code_points(re.search(r"unicode-range: (.*?);", (DOCS / "site" / "site.css").read_text(), re.DOTALL)[1])
    for page in site.rglob("*.html"):
        equations = "".join(re.findall(r"<math.*?</math>", page.read_text(), re.DOTALL))
        shown = unescape(re.sub(r"<[^>]+>", "", equations))
        assert {character for character in shown if ord(character) not in in_font} == set(), page.name


def test_no_page_shows_the_source_of_an_equation(site):
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code|script|style)\b.*?</\1>|<[^>]+>", "", page.read_text(), flags=re.DOTALL)
        assert "$" not in text, page.name


@pytest.mark.parametrize(("repo_url", "root"), [("", ".."), ("https://host/name/", "https://host/name/blob/main")])
def test_links_into_the_repository_lead_to_its_url_or_to_the_checkout(repo_url, root, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site")
    from hooks import on_page_markdown

    page = SimpleNamespace(file=SimpleNamespace(src_uri="method.md"))
    text = "| [`a.py`](../src/a.py) | [b](b.md#c), [d](../e) |"
    converted = on_page_markdown(text, page, SimpleNamespace(repo_url=repo_url), None)
    assert converted == f'| <a href="{root}/src/a.py">`a.py`</a> | [b](b.md#c), <a href="{root}/e">d</a> |'


def test_every_page_is_in_the_navigation():
    def sources(item):
        if isinstance(item, str):
            return [item]
        children = item.values() if isinstance(item, dict) else item
        return [source for child in children for source in sources(child)]

    assert sorted(sources(load_config(str(ROOT / "mkdocs.yml")).nav)) == PAGES


def test_the_tests_install_what_builds_the_site():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["dev"])
