"""Equations, written as GitHub shows them (```math and $`...`$), become MathML: no script and no font to fetch."""

from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor


ABOVE_CODE = 200  # or the backticks inside the dollars would be read as code


# What the converter takes for a variable, or for an operator with a gap on both sides
SPACED = {
    "<mi>&#x0007E;</mi>": "<mo>&#x0223C;</mo>",
    "<mi>log</mi>": '<mi>log</mi><mspace width="0.15em"/>',
    "<mi>cos</mi>": '<mi>cos</mi><mspace width="0.15em"/>',
    "<mo>min</mo>": "<mi>min</mi>",
    "<mo>max</mo>": "<mi>max</mi>",
}


def mathml(source: str, display: str = "inline") -> str:
    converted = convert(source.strip(), display=display)
    for found, wanted in SPACED.items():
        converted = converted.replace(found, wanted)
    return converted


def display_equation(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="equation">{mathml(source, "block")}</div>'


class InlineEquation(InlineProcessor):
    def handleMatch(self, m: Any, data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(m.group(1))), m.start(0), m.end(0)


class InlineEquations(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(InlineEquation(r"\$`([^`]+)`\$", md), "inline_equation", ABOVE_CODE)


FENCE = {"name": "math", "class": "equation", "format": display_equation}
