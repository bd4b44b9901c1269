"""The page: from what was found in a training step to one HTML file that needs nothing else."""

from bisect import bisect_right
from collections.abc import Iterable
from html import escape

from .records import Group, HybridRollout, Inspection, OnPolicyRollout, Token


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


# Ends of the classes of entropy, in nats; the same on every page, so that pages can be compared
ENTROPY_EDGES = (0.02, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)


# One hue that only grows stronger, so that it reads without colour vision; text on each has a contrast above 4.5
_LIGHT = ("#fdfaf4", "#fdf0d5", "#fde3b0", "#fcd28a", "#fabe68", "#f6a64a", "#ef8e34", "#e47a28", "#d96c1e")

_DARK = ("#1d1f24", "#33281c", "#48301a", "#5c3917", "#6b4014", "#7a4511", "#89490f", "#984d0e", "#a8520e")


def style() -> str:
    """The style sheet."""
    return (
        _SHEET.replace("/*light*/", _classes(_LIGHT))
        .replace("/*dark*/", _classes(_DARK))
        .replace("/*tokens*/", "".join(f".e{i}{{--heat:var(--e{i})}}" for i in range(len(_LIGHT))))
    )


def _classes(colours: tuple[str, ...]) -> str:
    return "".join(f"--e{place}:{colour};" for place, colour in enumerate(colours))


_SHEET = """
:root{color-scheme:light dark;--page:#fff;--panel:#f6f7f9;--line:#d5d9e0;--text:#16181d;--faint:#5a6170;
--mark:#0b3d91;--wrote:#0b57b0;--wrote-back:#e4effd;--cut:#0b3d91;--on-cut:#fff;--good:#0b57b0;--bad:#8a3a00;
/*light*/}
@media (prefers-color-scheme:dark){:root{--page:#15171b;--panel:#1d2026;--line:#3a404b;--text:#eef0f4;--faint:#a3abb9;
--mark:#8fc1ff;--wrote:#a5ccff;--wrote-back:#1a2d47;--cut:#8fc1ff;--on-cut:#0d1420;--good:#8fc1ff;--bad:#ffb27a;
/*dark*/}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:60rem;margin:0 auto;padding:1rem 1rem 6rem}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .5rem;padding-top:.75rem;border-top:2px solid var(--line)}
h3{font-size:1rem;margin:1rem 0 .4rem}
p{margin:.5rem 0}
.faint{color:var(--faint);font-size:.875rem}
dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.5rem 1rem;margin:1rem 0;
padding:.75rem;border:1px solid var(--line);border-radius:.5rem;font-size:.85rem;line-height:1.35}
dt{color:var(--faint);font-size:.75rem}dd{margin:0;overflow-wrap:anywhere}
.text,.tokens{background:var(--panel);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .75rem;
font:.9rem/2 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.text{white-space:pre-wrap;line-height:1.5;margin:.4rem 0}
.key{display:flex;flex-wrap:wrap;gap:.35rem 1rem;align-items:center;margin:.75rem 0;font-size:.875rem}
.scale{display:grid;grid-template-columns:repeat(9,minmax(0,1fr));width:22rem;max-width:100%;font-size:.7rem;
text-align:right;line-height:1.3}
.scale i{font-style:normal;background:var(--heat);height:1rem;border-block:1px solid var(--line)}
.scale i:first-child{border-left:1px solid var(--line)}.scale i:nth-child(9){border-right:1px solid var(--line)}
.scale span{color:var(--faint);transform:translateX(.5em)}
.t{border-radius:3px;padding:.1em .12em;margin:0 1px;background:var(--heat);-webkit-box-decoration-break:clone;
box-decoration-break:clone;cursor:help;font-weight:400}
/*tokens*/
.t s{text-decoration:none;opacity:.5}
b.t{font-weight:800;outline:2px solid var(--mark);outline-offset:-1px;box-shadow:0 4px 0 0 var(--mark)}
.w{background:var(--wrote-back);color:var(--wrote);font-style:italic;margin:0;border-radius:0;padding:.1em .02em}
.r{background:none;color:var(--faint);border-bottom:4px solid var(--heat);border-radius:0;padding-bottom:0}
.cut{display:inline-block;font:600 .72rem/1.5 system-ui,sans-serif;background:var(--cut);color:var(--on-cut);
padding:.05rem .45rem;border-radius:3px;margin:0 .3rem;white-space:nowrap}
.t:hover,.t:focus{outline:2px solid var(--text);outline-offset:0}
.t:hover::after,.t:focus::after{content:attr(title);position:fixed;z-index:9;left:0;right:0;bottom:0;
padding:.7rem 1rem;
background:var(--text);color:var(--page);font:400 .95rem/1.4 ui-monospace,Menlo,Consolas,monospace;text-align:center;
white-space:normal}
.facts{display:flex;flex-wrap:wrap;gap:.5rem;margin:.6rem 0;padding:0;list-style:none}
.facts li{border:1px solid var(--line);border-radius:.5rem;padding:.35rem .7rem;font-size:.8rem;color:var(--faint);
line-height:1.35}
.facts strong{display:block;font-size:1.05rem;color:var(--text)}
.facts .good strong{color:var(--good)}.facts .bad strong{color:var(--bad)}
.dots{display:flex;flex-wrap:wrap;gap:3px;padding:0;margin:.4rem 0;list-style:none;font:.8rem/1 ui-monospace,monospace}
.dots li{border:1px solid var(--line);border-radius:3px;padding:.3rem .45rem}
.dots .hybrid{border:2px solid var(--mark);font-weight:800;padding:calc(.3rem - 1px) calc(.45rem - 1px)}
details{margin:.75rem 0}summary{cursor:pointer;padding:.35rem 0;font-weight:600}
"""
