"""Writes docs/methods.md and a page for each method in docs/methods, from methods.yaml.

python docs/site/methods_page.py           # writes the pages
python docs/site/methods_page.py --check   # exits with 1 if they are not what the table says
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from prefix_rft_trl.utils.recipe_files import FOLDER


DOCS = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("methods.yaml")
TEMPLATE = Path(__file__).with_name("methods_template.md")
ALPHA, BETA = "\u03b1", "\u03b2"
COLUMNS = {"a": "a", "w": "w", "select": "select", "gate": "gate", "c": "c", "D": "D", "rows": "rows", "alpha": ALPHA}
DIVISORS = {
    "tokens": "the demonstration tokens of the step",
    "prompts": "the tokens of each demonstration, then the prompts of the step",
    "loss": "what loss_type divides by",
}
Method = dict[str, Any]


def methods() -> dict[str, Method]:
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def pages() -> dict[Path, str]:
    """The text of each page by its path."""
    found = methods()
    overview = TEMPLATE.read_text(encoding="utf-8").replace("{{ table }}", overview_table(found))
    return {DOCS / "methods.md": overview} | {
        DOCS / "methods" / f"{key}.md": page(key, method) for key, method in found.items()
    }


def overview_table(found: dict[str, Method]) -> str:
    rows = [
        [f"[{method['name']}](methods/{key}.md)", *(method["row"][column] for column in COLUMNS)]
        for key, method in found.items()
    ]
    return markdown_table(["method", *COLUMNS.values()], rows)


def page(key: str, method: Method) -> str:
    parts = [f"# {method['name']}", method["what"]]
    parts += [equation(method), " ".join(["Symbols: [Methods](../methods.md).", *sources(method)])]
    parts += ["## Command", f"```bash\nprefix-rft train --config recipes/lab/{key}.yaml\n```"]
    parts.append(f"Recipes: {', '.join(recipe_link(path) for path in recipes(key, method))}.")
    if settings := method.get("settings"):
        parts += ["## Settings", settings_table(settings)]
    parts += ["## Compared with the paper", method["exact"]] if method["paper"] else [method["exact"]]
    if code := method.get("code"):
        parts += ["## What the authors' code does", "\n".join(f"- {one}" for one in code)]
    return "\n\n".join(parts) + "\n"


def sources(method: Method) -> list[str]:
    """Sentences on where a method is described, and which code was read."""
    if not method["paper"]:
        return []
    found = [f"Paper: [arXiv {method['paper']}](https://arxiv.org/abs/{method['paper']})."]
    if "repository" not in method:
        return found
    if method["repository"] is None:
        return [*found, "There was no code to read: what stands here is from notes of others on the paper."]
    name, _, commit = method["repository"].partition("@")
    package = f"the authors' own, in the wheel of {method['package']}, and " if "package" in method else ""
    return [*found, f"Code read: {package}[{name}](https://github.com/{name}/tree/{commit}) at {commit}."]


def equation(method: Method) -> str:
    """Both weights, and what those of the demonstration are divided by."""
    given = [("sampled tokens", ALPHA, method.get("alpha")), ("tokens of y*", BETA, method.get("beta"))]
    lines = [f"{tokens:15} {symbol} = {weight}" for tokens, symbol, weight in given if weight is not None]
    if divisor := method["row"]["D"]:
        lines.append(f"{f'divisor of {BETA}':15} D = {DIVISORS[divisor]}")
    return "```\n{}\n```".format("\n".join(lines))


def recipes(key: str, method: Method) -> list[Path]:
    """The recipes of a method in all folders; some are called otherwise outside of the lab."""
    stems = {key, method.get("recipe", key)}
    folders = {path.parent for path in FOLDER.glob("*/uft.yaml")}
    return sorted(path for path in FOLDER.glob("*/*.yaml") if path.stem in stems and path.parent in folders)


def recipe_link(path: Path) -> str:
    name = path.relative_to(FOLDER)
    return f"[{name.with_suffix('')}](../../recipes/{name})"


def settings_table(settings: dict[str, dict[str, Any]]) -> str:
    """Settings with their sources; one column of values where no recipe differs from another."""
    kinds = ["published", "lab"] if any("published" in given for given in settings.values()) else ["value"]

    def cells(given: dict[str, Any]) -> list[str]:
        return [value_cell(given.get("all", given.get("lab" if kind == "value" else kind))) for kind in kinds]

    rows = [[name_cell(name), *cells(given), given["source"]] for name, given in settings.items()]
    return markdown_table(["setting", *kinds, "source"], rows)


def name_cell(name: str) -> str:
    return name if " " in name else f"`{name}`"


def value_cell(value: Any) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else str(value).replace('e-0', 'e-')}`"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def main(arguments: list[str]) -> int:
    written = pages()
    if "--check" in arguments:
        old = [path for path, text in written.items() if not path.is_file() or path.read_text("utf-8") != text]
        for path in old:
            print(f"{path} differs from methods.yaml. Run: python docs/site/methods_page.py", file=sys.stderr)
        return 1 if old else 0
    (DOCS / "methods").mkdir(exist_ok=True)
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
