"""How the page looks: one file without anything from outside, light and dark, from a phone up."""

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
