"""The recipes for 8 GPUs against the table of the paper's values in docs/recipes.md."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils.recipe_files import FOLDER


PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
MODELS = ["qwen2.5-math-7b", "qwen2.5-math-1.5b", "llama-3.1-8b", "qwen3-1.7b"]
TITLES = {
    "prefix_rft": ["All with rollouts", "Prefix-RFT"],
    "rft": ["All with rollouts", "RFT"],
    "luffy": ["All with rollouts", "LUFFY"],
    "uft": ["All with rollouts", "UFT"],
    "sft": ["SFT"],
    "sft_then_rft/sft": ["SFT"],
    "sft_then_rft/rft": ["All with rollouts", "RFT", "SFT then RFT"],
}
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


def settings_of(model: str, training: str) -> dict:
    method, _, stage = training.partition("/")
    recipe = yaml.safe_load((FOLDER / model / f"{method}.yaml").read_text())
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
    return value[0] if isinstance(value, list) else value


def same(shown: str, found) -> bool:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return shown == (str(found).lower() if isinstance(found, bool) else str(found))
    return float(shown) == float(found)


@pytest.mark.parametrize("training", TITLES)
@pytest.mark.parametrize("model", MODELS)
def test_a_recipe_has_the_values_of_the_paper(model, training):
    settings, shown = settings_of(model, training), {}
    for title in TITLES[training]:
        shown |= tables()[title]
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
        config = yaml.safe_load(path.read_text())["model_changes"]["config"]
        assert config == {"max_position_embeddings": 16384, "rope_theta": 40000}, path.name


@pytest.mark.parametrize("folder", sorted({path.parent.name for path in FOLDER.glob("*/uft.yaml")} - {"lab"}))
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
