"""docs/settings.md has every setting with its default."""

import ast
import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest
from trl import ModelConfig

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.sft import DemonstrationSFTConfig


DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "settings.md").read_text()
SETTING = re.compile(r"^\| `(\w+)` \| `([^`]*)` \|", re.MULTILINE)


def documented(section: str) -> dict[str, object]:
    """Names and defaults in the tables of a section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = SETTING.findall(text)
    assert len(rows) == text.count("\n| `")
    assert len(rows) == len({name for name, _ in rows})
    return {name: ast.literal_eval(default) for name, default in rows}


def defaults(config: type) -> dict[str, object]:
    return {setting.name: setting.default for setting in fields(config)}


def test_the_page_is_what_the_docstrings_say():
    assert runpy.run_path(str(DOCS / "site" / "settings_page.py"))["page"]() == PAGE


@pytest.mark.parametrize("config", [PrefixGRPOConfig, DemonstrationSFTConfig])
def test_every_setting_added_to_trl_is_documented_with_its_default(config):
    own = {name: default for name, default in defaults(config).items() if name in config.__annotations__}
    own.pop("_VALID_DICT_FIELDS", None)
    assert documented(config.__name__) == own


def test_every_argument_of_the_training_script_is_documented():
    assert documented("PrefixScriptArguments") == defaults(PrefixScriptArguments)


@pytest.mark.parametrize(
    ("section", "config"), [("Settings of TRL that matter", PrefixGRPOConfig), ("Model", ModelConfig)]
)
def test_documented_defaults_of_trl_are_those_of_the_pinned_version(section, config):
    shown = documented(section)
    assert shown == {name: default for name, default in defaults(config).items() if name in shown}
