"""Site hooks: equations become MathML, and links that leave `docs` lead into the repository."""

import re
from functools import partial
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page


BEFORE_CODE = 200  # the priority of inline code is lower, and would take the backticks between the dollars
NAME_IN_TABLE = re.compile(r"(?<=<code>)[^<\s]*_[^<\s]*(?=</code>)")
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
LINK = re.compile(r"\[([^\[\]]+)\]\((\.\./[^\s()]+)\)")
# The converter takes these for variables, or for operators with space on both sides
SPACING = {
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mi>log</mi>": '<mi>log</mi><mspace width="0.15em"/>',
    "<mi>cos</mi>": '<mi>cos</mi><mspace width="0.15em"/>',
    "<mo>min</mo>": "<mi>min</mi>",
    "<mo>max</mo>": "<mi>max</mi>",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    fence = {"name": "math", "class": "equation", "format": display_equation}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    config.markdown_extensions.append(InlineEquations())
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of `docs` at `repo_url`, or without one at the checkout that the folder `site` lies in.

    They are written as HTML, since mkdocs would warn of a Markdown link to a file that is no page.
    """
    up = "../" * (page.file.src_uri.count("/") + 1)
    root = f"{config.repo_url.rstrip('/')}/blob/main/" if config.repo_url else up

    def out_of_docs(link: re.Match[str]) -> str:
        text, target = link.groups()
        return f'<a href="{root}{target.removeprefix(up)}">{text}</a>' if target.startswith(up) else link[0]

    return LINK.sub(out_of_docs, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Let names in tables be broken after `_`. The search index, which is made before, has them whole."""
    breakable = partial(NAME_IN_TABLE.sub, lambda name: name[0].replace("_", "_<wbr>"))
    return TABLE.sub(lambda table: breakable(table[0]), output)


def mathml(source: str, display: str = "inline") -> str:
    converted = convert(source.strip(), display=display)
    for found, wanted in SPACING.items():
        converted = converted.replace(found, wanted)
    return converted


def display_equation(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="equation">{mathml(source, "block")}</div>'


class InlineEquation(InlineProcessor):
    def handleMatch(self, m: Any, data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(m.group(1))), m.start(0), m.end(0)


class InlineEquations(Extension):
    """Equations between $` and `$, which GitHub shows as well."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(InlineEquation(r"\$`([^`]+)`\$", md), "inline_equation", BEFORE_CODE)
