"""A report as one HTML file: nothing is fetched, and it reads on a phone, in the dark and aloud."""

import re
from html import escape

from prefix_rft_trl.utils.plot_style import COLOURS, INK, RULE

from .document import Block, Cells, Command, Document, Figure, Figures, Folded, Heading, Paragraph


DARK_COLOURS = ("#4da3ff", "#f0713a", "#35b592", "#efc93d", "#9ec9ff", "#d17ad0", "#ffffff", "#a5a5a5")

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --faint: #59636e; --rule: #d8dde3; --page: #ffffff;
  --box: #f4f6f8; --strong: #0b5cad; LIGHT }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --faint: #a0a9b3; --rule: #363d45; --page: #14171a;
  --box: #1e2328; --strong: #7db8ff; DARK } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.25rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 0.75rem; padding-top: 0.75rem;
  border-top: 1px solid var(--rule); }
p { max-width: 44rem; margin: 0.6rem 0; overflow-wrap: anywhere; }
code, pre { font: 0.9em/1.5 ui-monospace, monospace; background: var(--box); border-radius: 4px; }
code { padding: 0.1em 0.3em; overflow-wrap: anywhere; }
pre { padding: 0.7rem 0.9rem; white-space: pre-wrap; overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin: 1rem 0; padding: 0; list-style: none; }
a { color: var(--strong); }
.scroll { overflow-x: auto; margin: 1rem 0 1.4rem; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding-bottom: 0.4rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(44rem, calc(100vw - 3rem)); }
th, td { padding: 0.35rem 0.75rem; text-align: left; vertical-align: baseline; }
tbody tr + tr :is(th, td) { border-top: 1px solid var(--rule); }
thead th { border-bottom: 2px solid var(--rule); font-size: 0.85rem; line-height: 1.3; vertical-align: bottom; }
.numbers :is(td, th):not(:first-child) { text-align: right; }
.numbers td { white-space: nowrap; }
tbody th { position: sticky; left: 0; background: var(--page); font-weight: 500; min-width: 7rem; max-width: 20rem; }
.numbers tbody tr:hover :is(td, th) { background: var(--box); }
tbody th code { overflow-wrap: normal; }
td strong { color: var(--strong); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1.5rem 2rem;
  margin: 1.2rem 0; }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 36rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--strong); font-weight: 500; padding: 0.4rem 0; }
@media (max-width: 40rem) { th, td { padding: 0.35rem 0.5rem; } tbody th { max-width: 9rem; }
  tbody th code { overflow-wrap: anywhere; } }
@media print { .scroll { overflow: visible; } }
""".strip()

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def render(document: Document) -> str:
    """The page. The table of contents stands before the first heading."""
    headings = [block for block in document.blocks if isinstance(block, Heading)]
    parts = [render_block(block) for block in document.blocks]
    if headings:
        parts.insert(document.blocks.index(headings[0]), contents(headings))
    return TEMPLATE.format(title=escape(document.title), style=style(), body="\n".join(parts))


def style() -> str:
    def variables(colours: tuple[str, ...]) -> str:
        return " ".join(f"--series-{i}: {colour};" for i, colour in enumerate(colours))

    return STYLE.replace("LIGHT", variables(COLOURS)).replace("DARK", variables(DARK_COLOURS))


def contents(headings: list[Heading]) -> str:
    links = "".join(f'<li><a href="#{heading.anchor}">{inline(heading.text)}</a></li>' for heading in headings)
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def inline(text: str) -> str:
    """Escaped, with code marked."""
    return re.sub(r"`([^`]+)`", lambda found: f"<code>{breakable(found[1])}</code>", escape(text))


def breakable(name: str) -> str:
    """A name that may go on in the next line after a dot or an underscore."""
    return re.sub(r"([._])", r"\1<wbr>", name)


def render_block(block: Block) -> str:
    match block:
        case Heading(text, anchor):
            return f'<h2 id="{anchor}">{inline(text)}</h2>'
        case Paragraph(text):
            return f"<p>{inline(text)}</p>"
        case Command(text):
            return f"<pre>{escape(text)}</pre>"
        case Cells():
            return render_cells(block)
        case Figures(figures):
            return '<div class="figures">\n' + "\n".join(map(render_figure, figures)) + "\n</div>"
        case Folded(title, blocks):
            inner = "\n".join(map(render_block, blocks))
            return f"<details>\n<summary>{inline(title)}</summary>\n{inner}\n</details>"


def render_cells(cells: Cells) -> str:
    header = "".join(f'<th scope="col">{inline(title)}</th>' for title in cells.header)
    rows = "\n".join(render_row(cells, row) for row in range(len(cells.rows)))
    kind = ' class="numbers"' if cells.numbers else ""
    return (
        f'<div class="scroll" tabindex="0"><table{kind}>\n<caption><span>{inline(cells.caption)}</span></caption>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def render_row(cells: Cells, row: int) -> str:
    first, *others = (
        f"<strong>{inline(cell)}</strong>" if (row, column) in cells.strong else inline(cell)
        for column, cell in enumerate(cells.rows[row])
    )
    return f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"


def render_figure(figure: Figure) -> str:
    svg = inside_a_page(figure.svg, figure.name)
    return (
        "<figure>"
        + svg.replace("<svg ", f'<svg role="img" aria-label="{escape(figure.description)}" ', 1)
        + "</figure>"
    )


def inside_a_page(svg: str, name: str) -> str:
    """The SVG without its prologue, with ids of its own and colours that follow the page's."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'((?: id="|href="#|url\(#))', rf"\g<1>{name}-", svg)
    for colour, variable in page_colours().items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def page_colours() -> dict[str, str]:
    series = {colour: f"--series-{i}" for i, colour in enumerate(COLOURS)}
    return {**series, INK: "--ink", RULE: "--rule", "#ffffff": "--page"}
