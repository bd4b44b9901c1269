"""docs/methods.md and the page of each method say what docs/site/methods.yaml says, and that says what recipes set."""

from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils.recipe_files import FOLDER, recipe_names


DOCS = Path(__file__).parents[2] / "docs"
METHODS: dict[str, dict[str, Any]] = yaml.safe_load((DOCS / "site" / "methods.yaml").read_text())
WITH_SETTINGS = {name: method["settings"] for name, method in METHODS.items() if "settings" in method}
FOLDERS = {"lab": "lab", "qwen2.5-math-7b": "published"}
RECIPES = [(folder, name) for folder in FOLDERS for name in WITH_SETTINGS if f"{folder}/{name}" in recipe_names()]
PLAIN = {"lab": "grpo", "qwen2.5-math-7b": "rft"}  # the recipes that have no method's settings
# Where a run writes, how a step fits its machine, and what its name says
NOT_OF_THE_METHOD = {"output_dir", "trainer", "per_device_train_batch_size", "gradient_accumulation_steps"}
NOT_OF_THE_METHOD |= {"vllm_max_model_length"}
SAME = object()


@pytest.fixture
def page(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS / "site")
    import methods_page

    return methods_page


def test_the_pages_are_made_from_the_table(page):
    assert page.main(["--check"]) == 0, "run `make docs`"
    assert {path.stem for path in (DOCS / "methods").iterdir()} == set(METHODS)


def test_a_changed_table_changes_its_pages(page, monkeypatch, capsys):
    changed = {**METHODS, "hpt": {**METHODS["hpt"], "what": "Another method."}}
    monkeypatch.setattr(page, "methods", lambda: changed)
    assert page.main(["--check"]) == 1
    assert "hpt.md differs" in capsys.readouterr().err


def test_every_method_has_a_recipe_in_the_lab_and_every_recipe_there_a_method():
    assert {path.stem for path in (FOLDER / "lab").glob("*.yaml")} - {"comparison"} == set(METHODS)
    published = [name for name, given in WITH_SETTINGS.items() if any("published" in one for one in given.values())]
    assert {f"qwen2.5-math-7b/{name}" for name in published} <= set(recipe_names())


def own_settings(folder: str, name: str) -> dict[str, Any]:
    """What a recipe sets otherwise than the plain one of its folder and trainer."""
    recipe = read_with_bases(FOLDER / folder / f"{name}.yaml")[0]
    plain = "sft" if recipe.get("trainer") == "sft" else PLAIN[folder]
    common = read_with_bases(FOLDER / folder / f"{plain}.yaml")[0]
    return {key: value for key, value in recipe.items() if common.get(key, SAME) != value}


def settings_of(folder: str, name: str) -> dict[str, Any]:
    """All that a recipe sets, with the defaults of the others."""
    recipe = read_with_bases(FOLDER / folder / f"{name}.yaml")[0]
    config = DemonstrationSFTConfig if recipe.get("trainer") == "sft" else PrefixGRPOConfig
    return {one.name: one.default for one in fields(config)} | recipe


@pytest.mark.parametrize(("folder", "name"), RECIPES)
def test_a_recipe_has_the_settings_of_its_page_and_no_others(folder, name):
    told = {
        setting: given.get("all", given.get(FOLDERS[folder], SAME))
        for setting, given in WITH_SETTINGS[name].items()
        if " " not in setting  # what is computed from settings: tests/recipes/test_paper_values.py
    }
    told = {setting: value for setting, value in told.items() if value is not SAME}
    found = settings_of(folder, name)
    assert {setting: found.get(setting) for setting in told} == told
    assert set(own_settings(folder, name)) - NOT_OF_THE_METHOD <= set(told)


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_a_setting_has_one_value_or_one_for_each_kind_of_recipe_and_a_source(name):
    for setting, given in WITH_SETTINGS[name].items():
        assert set(given) - {"source"} in ({"all"}, {"published"}, {"lab"}, {"published", "lab"}), setting
        assert given["source"], setting
