"""Render an inspection as one self-contained HTML page, from the template page.html.j2."""

from bisect import bisect_right
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from .records import HybridRollout, Inspection, Token


# Upper edges of the entropy classes, in nats; the same on every page, so that pages can be compared
ENTROPY_EDGES = (0.02, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
# One hue of growing strength, which reads without colour vision; text on each has a contrast above 4.5
LIGHT = ("#fdfaf4", "#fdf0d5", "#fde3b0", "#fcd28a", "#fabe68", "#f6a64a", "#ef8e34", "#e47a28", "#d96c1e")
DARK = ("#1d1f24", "#33281c", "#48301a", "#5c3917", "#6b4014", "#7a4511", "#89490f", "#984d0e", "#a8520e")

_SIGNS = {" ": "·", "\t": "⇥", "\r": "␍", "\n": "↵"}
_SIGNS_IN_TITLE = str.maketrans(_SIGNS)
_SIGNS_IN_TEXT = str.maketrans({space: f"<s>{sign}</s>" for space, sign in _SIGNS.items()})


def page(inspection: Inspection, origin: Iterable[tuple[str, str]] = ()) -> str:
    """Render the page of an inspection.

    Args:
        inspection (`Inspection`): its groups and settings.
        origin (`Iterable[tuple[str, str]]`): further settings to show, such as the model and the recipe.

    Returns:
        `str`: a complete HTML document without references to anything outside it.
    """
    settings = (*origin, *inspection.settings)
    return _template().render(
        settings=settings,
        groups=inspection.groups,
        has_results=inspection.has_results,
        edges=ENTROPY_EDGES,
        light=LIGHT,
        dark=DARK,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "entropy_class": entropy_class,
        "facts": _facts,
        "figures": _figures,
        "number": _number,
        "signed": _signed,
        "verdict": verdict,
        "visible": _visible,
    }
    return environment.get_template("page.html.j2")


def entropy_class(entropy: float) -> int:
    """The class of an entropy in nats, counted from 0, between `ENTROPY_EDGES`."""
    return bisect_right(ENTROPY_EDGES, entropy)


def verdict(advantage: float) -> str:
    """How training with this advantage changes a token's probability."""
    if advantage > 0:
        return "▲ reinforced"
    return "▼ pushed away" if advantage < 0 else "● nothing to learn"


def _facts(rollout: HybridRollout) -> list[tuple[str, str, str]]:
    """Class, name and value of each fact about a rollout."""
    given, total = len(rollout.prefix), len(rollout.prefix) + len(rollout.rest)
    return [
        ("", "reward", _number(rollout.reward)),
        *_advantages(rollout),
        ("", "given of the demonstration", f"{given} of {total} tokens"),
        ("", "kept", f"{rollout.num_selected} of {given} tokens"),
    ]


def _advantages(rollout: HybridRollout) -> list[tuple[str, str, str]]:
    if not rollout.num_selected:
        prefix = ("", "given tokens", "context only")
    elif rollout.prefix_advantage is None:
        prefix = ("good", "kept tokens", "▲ imitated, whatever the reward")
    elif rollout.prefix_advantage == rollout.advantage:
        return [_advantage("advantage", rollout.advantage)]
    else:
        prefix = _advantage("advantage of the kept tokens", rollout.prefix_advantage)
    continuation = [_advantage("advantage of what it wrote", rollout.advantage)] if rollout.continuation else []
    return [prefix, *continuation]


def _advantage(name: str, advantage: float) -> tuple[str, str, str]:
    kind = "good" if advantage > 0 else "bad" if advantage < 0 else ""
    return kind, name, f"{_signed(advantage)} {verdict(advantage)}"


def _figures(token: Token) -> str:
    text = token.text.translate(_SIGNS_IN_TITLE) or "part of a character"
    probability = f"{token.probability:.1%}" if token.probability >= 0.001 else f"{token.probability:.1e}"
    selected = ", kept" if token.selected else ""
    return f"{text}  entropy {token.entropy:.2f} nats, probability {probability}{selected}"


def _visible(text: str) -> Markup:
    """Escaped text with signs for white space; a sign is marked up, so that it differs from the same character."""
    return Markup(str(escape(text)).translate(_SIGNS_IN_TEXT) or "<s>◌</s>")


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")  # noqa: RUF001


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if value else "0"  # noqa: RUF001
