"""The page: from what was found in a training step to one HTML file that needs nothing else."""

from bisect import bisect_right
from collections.abc import Iterable
from html import escape

from .records import Group, HybridRollout, Inspection, OnPolicyRollout, Token
from .style import ENTROPY_EDGES, style


NEWLINE, SPACE, TAB, PART = "↵", "·", "⇥", "◌"
_SPACES_SHOWN = str.maketrans({" ": f"<s>{SPACE}</s>", "\t": f"<s>{TAB}</s>", "\r": "<s>␍</s>"})
_SPACES_NAMED = str.maketrans({" ": SPACE, "\t": TAB, "\r": "␍", "\n": NEWLINE})

READING = """\
<p>Each coloured piece is a token of a <strong>demonstration</strong>: the stronger its colour, the less certain the
policy is of what comes there. The tokens in a frame are <strong>kept</strong>: of the part that is given they alone
are trained, the others are context.</p>
<p>Where the demonstration is <strong>cut</strong> the policy goes on by itself, and the whole earns a reward. If that
is above the mean of the group, the kept tokens become more likely; below it they are pushed away (a cross-entropy
imitates them whatever the reward). Tap a token, or point at it, for its figures.</p>"""


def page(inspection: Inspection, origin: Iterable[tuple[str, str]] = ()) -> str:
    """The page of an inspection.

    Args:
        inspection (`Inspection`): what is shown.
        origin (`Iterable[tuple[str, str]]`): further settings to name, such as the model and the recipe.

    Returns:
        `str`: HTML, complete, without references to anything outside it.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What a prefix teaches</title>
<style>{style()}</style>
</head>
<body>
<main>
<h1>What a prefix teaches</h1>
{READING}
{_key()}
{_settings((*origin, *inspection.settings))}
{"".join(_group(group) for group in inspection.groups)}
</main>
</body>
</html>
"""


def entropy_class(entropy: float) -> int:
    """The class of an entropy in nats, from 0; `ENTROPY_EDGES` are where the next one starts."""
    return bisect_right(ENTROPY_EDGES, entropy)


def _key() -> str:
    colours = "".join(f'<i class="e{place}"></i>' for place in range(len(ENTROPY_EDGES) + 1))
    edges = "".join(f"<span>{edge:g}</span>" for edge in ENTROPY_EDGES)
    return f"""<div class="key"><div>entropy, nats<div class="scale">{colours}{edges}</div></div>
<span><b class="t e5">kept</b> trained</span>
<span><span class="t e1">given</span> context</span>
<span><span class="t w">written</span> by the policy</span>
<span><span class="t r e5">rest</span> not given</span></div>"""


def _settings(settings: Iterable[tuple[str, str]]) -> str:
    pairs = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in settings)
    return f"<dl>{pairs}</dl>"


def _group(group: Group) -> str:
    first, others = group.hybrids[:1], group.hybrids[1:]
    hybrids = "".join(map(_hybrid, first)) or "<p>No rollout of this group was given a prefix.</p>"
    if others:
        hybrids += _folded(f"{len(others)} more with a prefix", map(_hybrid, others))
    on_policy = ""
    if group.on_policy:
        on_policy = _folded(
            f"{len(group.on_policy)} on-policy rollouts of the group", map(_on_policy, group.on_policy)
        )
    return f"""<section>
<h2>Row {group.row}</h2>
<div class="text">{escape(group.prompt)}</div>
{_rewards(group)}
{hybrids}
{on_policy}
</section>"""


def _folded(title: str, parts: Iterable[str]) -> str:
    return f"<details><summary>{title}</summary>{''.join(parts)}</details>"


def _rewards(group: Group) -> str:
    hybrid = "".join(f'<li class="hybrid">{_number(rollout.reward)}</li>' for rollout in group.hybrids)
    others = "".join(f"<li>{_number(rollout.reward)}</li>" for rollout in group.on_policy)
    return f"""<p class="faint">Rewards of the group, mean {_number(group.mean_reward)}; in a frame: started from the
demonstration</p><ul class="dots">{hybrid}{others}</ul>"""


def _hybrid(rollout: HybridRollout) -> str:
    written = _tokens(rollout.continuation, "w")
    cut = "✂ cut, the policy goes on" if written else "■ given whole"
    rest = ""
    if rollout.rest:
        rest = (
            f'<h3>The rest of the demonstration, not given</h3><div class="tokens">{_tokens(rollout.rest, "r")}</div>'
        )
    return f"""<h3>The demonstration, and what the policy made of it</h3>
{_facts(rollout)}
<div class="tokens">{_tokens(rollout.prefix)}<span class="cut">{cut}</span><wbr>{written}</div>
{rest}"""


def _facts(rollout: HybridRollout) -> str:
    given, whole = len(rollout.prefix), len(rollout.prefix) + len(rollout.rest)
    facts = [
        ("", "reward", _number(rollout.reward)),
        *_advantages(rollout),
        ("", "given of the demonstration", f"{given} of {whole} tokens"),
        ("", "kept", f"{rollout.kept} of {given} tokens"),
    ]
    items = (f'<li class="{kind}">{name}<strong>{value}</strong></li>' for kind, name, value in facts)
    return f'<ul class="facts">{"".join(items)}</ul>'


def _advantages(rollout: HybridRollout) -> list[tuple[str, str, str]]:
    if not rollout.kept:
        of_prefix = ("", "given tokens", "context only")
    elif rollout.prefix_advantage is None:
        of_prefix = ("good", "kept tokens", "▲ imitated, whatever the reward")
    elif rollout.prefix_advantage == rollout.advantage:
        return [_advantage("advantage", rollout.advantage)]
    else:
        of_prefix = _advantage("advantage of the kept tokens", rollout.prefix_advantage)
    return (
        [of_prefix, _advantage("advantage of what it wrote", rollout.advantage)]
        if rollout.continuation
        else [of_prefix]
    )


def _advantage(name: str, advantage: float) -> tuple[str, str, str]:
    kind = "good" if advantage > 0 else "bad" if advantage < 0 else ""
    return kind, name, f"{_signed(advantage)} {verdict(advantage)}"


def verdict(advantage: float) -> str:
    """What a token with this advantage is in for."""
    if advantage > 0:
        return "▲ reinforced"
    return "▼ pushed away" if advantage < 0 else "● nothing to learn"


def _on_policy(rollout: OnPolicyRollout) -> str:
    return f"""<p class="faint">reward {_number(rollout.reward)}, advantage {_signed(rollout.advantage)}
{verdict(rollout.advantage)}, {rollout.tokens} tokens</p><div class="text">{escape(rollout.text)}</div>"""


def _tokens(tokens: Iterable[Token], kind: str = "") -> str:
    return "".join(_token(token, kind) for token in tokens)


def _token(token: Token, kind: str) -> str:
    tag = "b" if token.kept else "span"
    classes = " ".join(filter(None, ["t", kind, "" if kind == "w" else f"e{entropy_class(token.entropy)}"]))
    # A tap gives it the focus, which shows the title without any script; the tab key passes over it
    piece = f'<{tag} class="{classes}" tabindex="-1" title="{escape(_title(token))}">{_visible(token.text)}</{tag}>'
    before = "<wbr>" if token.text[:1].isspace() or not token.text[:1].isalnum() else ""
    return before + piece + ("<br>" if token.text.endswith("\n") else "")


def _visible(text: str) -> str:
    shown = escape(text).translate(_SPACES_SHOWN)
    return shown.replace("\n", f"<s>{NEWLINE}</s>") or f"<s>{PART}</s>"


def _title(token: Token) -> str:
    text = token.text.translate(_SPACES_NAMED) or "part of a character"
    kept = ", kept" if token.kept else ""
    return f"{text}  entropy {token.entropy:.2f} nats, probability {_probability(token.probability)}{kept}"


def _probability(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.1e}"


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")  # noqa: RUF001


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−") if value else "0"  # noqa: RUF001
