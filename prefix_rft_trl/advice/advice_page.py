"""Render advice as one self-contained HTML page, from the template advice.html.j2."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from .advice_facts import NOT_SHOWN, facts
from .advice_pictures import success_by_prefix, success_of_problems, tokens_by_probability
from .advice_rules import LABELS, Advice
from .probe_result import ProbeResult


_CODE = re.compile(r"`([^`]*)`")
_RANGE = re.compile(r"(?<=\d) (to|of) (?=[\d-])")


def advice_page(advice: Advice, result: ProbeResult) -> str:
    """A complete HTML document without references to anything outside it."""
    pictures = [
        ("Success behind a part of a demonstration", success_by_prefix(result)),
        ("How often each problem is solved alone", success_of_problems(result)),
        ("How likely the demonstrations are to the policy", tokens_by_probability(result)),
    ]
    return _template().render(
        advice=advice,
        result=result,
        runner_up=LABELS[advice.runner_up] if advice.runner_up else None,
        pictures=[(title, picture) for title, picture in pictures if picture],
        facts=[(title, group) for title, group in facts(result) if group],
        not_shown=NOT_SHOWN,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["prose"] = _prose
    environment.filters["figures"] = _unbroken
    return environment.get_template("advice.html.j2")


def _prose(text: str) -> Markup:
    """Escaped text in which what stands in backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(_unbroken(text)))))


def _unbroken(text: object) -> str:
    """Text in which no line ends within `0.18 to 0.26` or `84 of 384`."""
    return _RANGE.sub("\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", str(text))
