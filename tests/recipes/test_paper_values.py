"""The recipes for 8 GPUs against the tables of the published values: docs/recipes.md, docs/site/methods.yaml."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils.recipe_files import FOLDER


DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "recipes.md"
METHODS = yaml.safe_load((DOCS / "site" / "methods.yaml").read_text())
MODELS = ["qwen2.5-math-7b", "qwen2.5-math-1.5b", "llama-3.1-8b", "qwen3-1.7b"]
TITLES = {  # of the tables that trainings share
    "prefix_rft": ["All with rollouts"],
    "rft": ["All with rollouts"],
    "luffy": ["All with rollouts"],
    "uft": ["All with rollouts"],
    "sft": ["SFT"],
    "sft_then_rft/sft": ["SFT"],
    "sft_then_rft/rft": ["All with rollouts", "SFT then RFT"],
}
OF_OTHER_PAPERS = {
    path.stem: ["SFT" if path.stem == "dft" else "All with rollouts"]
    for path in (FOLDER / "qwen2.5-math-7b").glob("*.yaml")
    if path.stem not in {training.partition("/")[0] for training in TITLES}
}
TRAININGS = [(model, training) for model in MODELS for training in TITLES]
TRAININGS += [("qwen2.5-math-7b", method) for method in sorted(OF_OTHER_PAPERS)]
# Where a run reads and writes, and how a step fits its GPUs
MACHINE = {"model_name_or_path", "model_changes", "dataset_name", "output_dir", "bf16", "gradient_checkpointing"}
MACHINE |= {"logging_steps", "save_steps", "save_total_limit", "report_to", "seed", "trainer"}
MACHINE |= {"per_device_train_batch_size", "gradient_accumulation_steps"}
MEASURED = {"test_share", "measure_steps", "measure_max_new_tokens"}
GPUS = 8


def tables() -> dict[str, dict[str, str]]:
    """The value of each setting, by the title of its table."""
    parts = re.split(r"^### (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    rows = {}
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        found = re.findall(r"^\| (.*?) \| (.*?) \| .* \|$", text.split("\n## ")[0], re.MULTILINE)
        rows[title] = {name.strip("`"): value for name, value in found if name not in ("setting", "---")}
    return rows


def values_of_the_method(training: str) -> dict[str, Any]:
    """Those that its page has, with their sources."""
    given = METHODS.get(training, {}).get("settings", {})
    found = {name: value.get("all", value.get("published")) for name, value in given.items()}
    return {name: value for name, value in found.items() if value is not None}


def read(path: Path) -> dict[str, Any]:
    return dict(read_with_bases(path)[0])


def settings_of(model: str, training: str) -> dict:
    method, _, stage = training.partition("/")
    recipe = read(FOLDER / model / f"{method}.yaml")
    stages = recipe.pop("stages", {"": {}})
    return {**recipe, **stages[stage]}


def value_of(name: str, settings: dict):
    """The value of a recipe, set or default."""
    rows = settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * GPUS
    if name == "prompts a step":
        return rows / settings["num_generations"]
    if name == "demonstrations a step":
        return rows
    config = DemonstrationSFTConfig if settings.get("trainer") == "sft" else PrefixGRPOConfig
    defaults = {field.name: field.default for field in fields(config)}
    value = settings.get(name, defaults.get(name))
    return value[0] if name == "reward_funcs" else value


def same(shown: Any, found: Any) -> bool:
    if not isinstance(shown, str):
        return shown == found
    if isinstance(found, bool) or not isinstance(found, int | float):
        return shown == (str(found).lower() if isinstance(found, bool) else str(found))
    return float(shown) == float(found)


@pytest.mark.parametrize(("model", "training"), TRAININGS)
def test_a_recipe_has_the_values_of_the_paper(model, training):
    settings, shown = settings_of(model, training), {}
    for title in (TITLES | OF_OTHER_PAPERS)[training]:
        shown |= tables()[title]
    shown |= values_of_the_method(training)
    one_update = shown.pop("steps_per_generation", None)
    assert one_update is None or not {"steps_per_generation", "generation_batch_size"} & set(settings)
    found = {name: value_of(name, settings) for name in shown}
    assert not {name: (value, found[name]) for name, value in shown.items() if not same(value, found[name])}
    machine = {name for name in settings if name in MACHINE or name.startswith(("vllm_", "use_vllm"))}
    measured = MEASURED | ({"reward_funcs"} if settings.get("trainer") == "sft" else set())
    assert set(settings) - machine - measured <= set(shown), "a setting that is missing in the table"


@pytest.mark.parametrize("model", ["qwen2.5-math-7b", "qwen2.5-math-1.5b"])
def test_all_recipes_of_a_model_extend_its_context_as_the_paper_does(model):
    for path in (FOLDER / model).glob("*.yaml"):
        config = read(path)["model_changes"]["config"]
        assert config == {"max_position_embeddings": 16384, "rope_theta": 40000}, path.name


OF_PAPERS = {path.parent.name for path in FOLDER.glob("*/uft.yaml")} - {"lab", "lab-map", "smollm2"}


@pytest.mark.parametrize("folder", sorted(OF_PAPERS))
def test_the_methods_of_a_model_share_all_other_settings(folder):
    methods = ("prefix_rft", "rft", "luffy", "uft")
    recipes = [yaml.safe_load((FOLDER / folder / f"{method}.yaml").read_text()) for method in methods]
    own = {"output_dir", "entropy_coef", "num_prefix_generations"}
    shared = [
        {name: value for name, value in recipe.items() if name not in own and not name.startswith("prefix_")}
        for recipe in recipes
    ]
    assert all(one == shared[0] for one in shared)
    two_stages = yaml.safe_load((FOLDER / folder / "sft_then_rft.yaml").read_text())
    rft = {**two_stages, **two_stages.pop("stages")["rft"]}
    assert {name: value for name, value in rft.items() if name not in {*own, "epsilon_high", "stages"}} == shared[0]
