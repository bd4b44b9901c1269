"""A notebook as a page: its text, its code, and the outputs that it is kept with."""

import base64
import re
from typing import Any


CODE_OR_EQUATION = re.compile(r"(?P<code>`[^`]*`)|\$\$(?P<display>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)
TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
Cell = dict[str, Any]


def page_of_notebook(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Its Markdown, and the pictures that it shows, by their file names."""
    blocks: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = joined(cell["source"])
        blocks.append(with_fenced_equations(source) if cell["cell_type"] == "markdown" else fenced(source, "python"))
        for output in cell.get("outputs", []):
            blocks.append(shown(output, f"{name}_{len(pictures) + 1}.png", pictures))
    blocks.append(f'<p>The notebook: <a href="{name}.ipynb" download>{name}.ipynb</a></p>')
    return "\n\n".join(filter(None, blocks)), pictures


def with_fenced_equations(text: str) -> str:
    """Jupyter's dollars, $$...$$ and $...$, in the way of the other pages."""

    def fence(found: re.Match[str]) -> str:
        if found["display"]:
            return fenced(found["display"].strip(), "math")
        return found["code"] or f"$`{found['inline']}`$"

    return CODE_OR_EQUATION.sub(fence, text)


def shown(output: Cell, picture: str, pictures: dict[str, bytes]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        pictures[picture] = base64.b64decode(joined(data["image/png"]))
        return f"![Output of the cell above]({picture})"
    if "text/html" in data:
        return f'<div class="output">{joined(data["text/html"])}</div>'
    text = joined(output.get("text", data.get("text/plain", "")))
    return fenced(TERMINAL_COLOURS.sub("", text), "text") if text else ""


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
