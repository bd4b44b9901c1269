"""Writes docs/settings.md: tables of the settings from their docstrings, inside the text of settings_template.md.

python docs/site/settings_page.py           # writes the page
python docs/site/settings_page.py --check   # exits with 1 if the page is not what the docstrings say
"""

import re
import sys
from dataclasses import MISSING, fields
from pathlib import Path

from trl import ModelConfig

from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils.documented import parameter_texts


PAGE = Path(__file__).parents[1] / "settings.md"
TEMPLATE = Path(__file__).with_name("settings_template.md")
CLASSES = {one.__name__: one for one in (PrefixGRPOConfig, ModelConfig, PrefixScriptArguments, DemonstrationSFTConfig)}

_TABLE = re.compile(r"^\{\{ (\w+)(?:: (.+))? \}\}$", re.MULTILINE)  # {{ Class }} or {{ Class: group of parameters }}
_DEFAULT = re.compile(r"\{\{ (\w+)\.(\w+) \}\}")  # {{ Class.setting }}


def page() -> str:
    text = _TABLE.sub(lambda found: table(found[1], found[2]), TEMPLATE.read_text(encoding="utf-8"))
    return _DEFAULT.sub(lambda found: default(found[1], found[2]), text)


def table(class_name: str, group: str | None) -> str:
    """The documented settings of a class, or of one group in its docstring, as a Markdown table."""
    docstring = CLASSES[class_name].__doc__ or ""
    if group is not None:
        docstring = docstring.split(f"> Parameters {group}\n")[1].split("> Parameters")[0]
    rows = [
        f"| `{name}` | {default(class_name, name)} | {cell(text)} |"
        for name, text in parameter_texts(docstring).items()
    ]
    return "\n".join(["| setting | default | what it does |", "| --- | --- | --- |", *rows])


def default(class_name: str, setting: str) -> str:
    field = next(one for one in fields(CLASSES[class_name]) if one.name == setting)
    value = field.default if field.default is not MISSING else field.default_factory()
    return f"`{value!r}`".replace("'", '"')


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print("docs/settings.md differs from the docstrings. Run: python docs/site/settings_page.py", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
