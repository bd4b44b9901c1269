"""The documentation as a site: built without a warning, without a dead link, without a network; settings complete."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.config import load_config
from trl import ModelConfig

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.sft import DemonstrationSFTConfig


ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [page.name for page in sorted(DOCS.glob("*.md"))]
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
SETTING = re.compile(r"^\| `(\w+)` \| `([^`]*)` \|", re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    silent = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # of the theme, about its successor
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=silent)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Html(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {"", "__top"}  # the second is the theme's: the top of a page
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        of_tag = dict(attrs)
        self.anchors |= {of_tag[key] for key in ("id", "name") if of_tag.get(key)}
        if tag == "a" and of_tag.get("href"):
            self.links.append(of_tag["href"])
        if tag in ("img", "script", "iframe", "source") and of_tag.get("src"):
            self.loaded.append(of_tag["src"])
        if tag == "link" and of_tag.get("href") and of_tag.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(of_tag["href"])


def pages_of(site: Path) -> dict[Path, Html]:
    return {page: Html(page.read_text()) for page in site.rglob("*.html")}


def dead(site: Path, pages: dict[Path, Html]) -> list[str]:
    """References that lead nowhere: to a file that is not there, or to an anchor that a page does not have."""
    found = []
    for page, html in pages.items():
        for reference in [*html.links, *html.loaded]:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc:
                continue
            start = site if parts.path.startswith("/") else page.parent
            target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
            if target == site and page.name == "404.html":  # served in the place of any page, from the root
                continue
            lacks_anchor = target in pages and unquote(parts.fragment) not in pages[target].anchors
            if not target.is_file() or lacks_anchor:
                found.append(f"{page.relative_to(site)}: {reference}")
    return found


def test_a_reader_of_the_site_meets_no_dead_link_and_no_missing_picture(site):
    assert dead(site, pages_of(site)) == []


def test_the_site_can_be_read_without_a_network(site):
    loaded = {reference for html in pages_of(site).values() for reference in html.loaded}
    assert [reference for reference in loaded if urlsplit(reference).netloc] == []
    assert all("@import" not in sheet.read_text() for sheet in (site / "site").glob("*.css"))


@pytest.mark.parametrize("page", [page for page in PAGES if "```math" in (DOCS / page).read_text()])
def test_equations_are_shown_as_equations(site, page):
    text = (DOCS / page).read_text()
    html = (site / page).with_suffix(".html").read_text()
    shown = re.findall(r"<math.*?</math>", html, re.DOTALL)
    in_lines = len(re.findall(r"\$`[^`]+`\$", FENCED.sub("", text)))
    assert (len(shown), html.count('display="block"')) == (in_lines + text.count("```math"), text.count("```math"))
    assert [equation for equation in shown if "\\" in equation] == []  # a command that nobody has translated


def test_no_page_or_notebook_shows_an_equation_as_its_source(site):
    for page in [*site.glob("*.html"), *(site / "notebooks").glob("*.html")]:
        shown = re.sub(r"<(pre|code|script|style)\b.*?</\1>|<[^>]+>", "", page.read_text(), flags=re.DOTALL)
        assert "$" not in shown, page.name


def test_a_linked_file_is_a_page_with_its_source(site):
    source = (site / "files" / "prefix_rft_trl" / "prefixes.py.html").read_text()
    assert "def prefix_length(" in re.sub(r"<[^>]+>", "", source)
    assert 'href="files/prefix_rft_trl/method/prefixes.py.html"' in (site / "method.html").read_text()


def test_the_report_of_the_comparison_is_on_the_site(site):
    assert (site / "files" / "docs" / "comparison" / "report.html").is_file()


def test_every_page_and_notebook_can_be_found_in_the_navigation():
    def sources(item):
        if isinstance(item, str):
            return [item]
        children = item.values() if isinstance(item, dict) else item
        return [source for child in children for source in sources(child)]

    notebooks = [f"notebooks/{notebook.stem}.md" for notebook in (ROOT / "notebooks").glob("*.ipynb")]
    assert sorted(sources(load_config(str(ROOT / "mkdocs.yml")).nav)) == sorted(PAGES + notebooks)


def documented(section: str) -> dict[str, object]:
    """Names and defaults in the tables of a section of settings.md."""
    text = (DOCS / "settings.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = SETTING.findall(text)
    assert len(rows) == text.count("\n| `")
    assert len(rows) == len({name for name, _ in rows})
    return {name: ast.literal_eval(default) for name, default in rows}


def defaults(config: type) -> dict[str, object]:
    return {setting.name: setting.default for setting in fields(config)}


@pytest.mark.parametrize("config", [PrefixGRPOConfig, DemonstrationSFTConfig])
def test_the_page_of_settings_has_all_that_a_config_adds_to_trl(config):
    own = {name: default for name, default in defaults(config).items() if name in config.__annotations__}
    own.pop("_VALID_DICT_FIELDS", None)
    assert documented(config.__name__) == own


def test_the_page_of_settings_has_every_argument_of_the_training_script():
    assert documented("PrefixScriptArguments") == defaults(PrefixScriptArguments)


@pytest.mark.parametrize(
    ("section", "config"), [("Settings of TRL that matter", PrefixGRPOConfig), ("Model", ModelConfig)]
)
def test_defaults_of_trl_are_told_as_they_are(section, config):
    told = documented(section)
    assert told == {name: default for name, default in defaults(config).items() if name in told}


def test_make_docs_installs_what_builds_the_site_and_so_do_the_tests():
    commands = subprocess.run(
        ["make", "--dry-run", "--always-make", "docs"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    ).stdout  # fmt: skip
    order = [commands.index(word) for word in ("-m venv", '--editable ".[docs]"', "mkdocs build --strict")]
    assert order == sorted(order)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["dev"])


def test_what_the_cells_of_a_notebook_gave_is_shown(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site")
    from notebook_pages import page_of_notebook

    outputs = [
        {"output_type": "stream", "text": ["\x1b[32mprinted\x1b[0m\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["the value"]}},
        {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": ["<Figure>"]}},
        {"output_type": "display_data", "data": {"text/html": ["<b>a table</b>"], "text/plain": ["plain"]}},
    ]
    page, pictures = page_of_notebook(
        {"cells": [{"cell_type": "code", "source": "run()", "outputs": outputs}]}, "name"
    )
    assert "```python\nrun()\n```\n\n```text\nprinted\n```\n\n```text\nthe value\n```" in page
    assert pictures == {"name_1.png": bytes(3)}
    assert "](name_1.png)" in page
    assert "<b>a table</b>" in page
    assert "plain" not in page
