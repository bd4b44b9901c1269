"""docs/settings.md says what the docstrings say, and has every setting."""

from dataclasses import fields
from pathlib import Path

import pytest

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.sft import DemonstrationSFTConfig


DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "settings.md").read_text()


def test_the_page_is_made_from_the_docstrings(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "site")
    from settings_page import main, page

    assert page() == PAGE, "run `make docs`"
    assert main(["--check"]) == 0


@pytest.mark.parametrize("config", [PrefixGRPOConfig, DemonstrationSFTConfig, PrefixScriptArguments])
def test_every_setting_is_on_the_page(config):
    section = PAGE.split(f"\n## {config.__name__}\n")[1].split("\n## ")[0]
    inherits_all = config is PrefixScriptArguments  # a user has to know those of TRL's too
    own = [one.name for one in fields(config) if inherits_all or one.name in config.__annotations__]
    assert [name for name in own if f"\n| `{name}` | `" not in section and name != "_VALID_DICT_FIELDS"] == []
