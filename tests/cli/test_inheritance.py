"""Recipes with a `base`: every command sees their settings as if they stood in one file."""

from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.cli.launch.arguments import check_stage, is_setting
from prefix_rft_trl.cli.launch.recipe import Recipe, load_recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


SHARED = """
model_name_or_path: lab
dataset_name: lab
reward_funcs: [lab_exact_answer]
num_generations: 4
num_prefix_generations: 1
max_completion_length: 24
per_device_train_batch_size: 8
learning_rate: 1.0e-3
max_steps: 2
save_strategy: "no"
report_to: none
use_cpu: true
bf16: false
measure_steps: 2
measure_rows: 8
measure_max_new_tokens: 8
env: {OF_BASE: 1}
"""


@pytest.fixture
def recipes(tmp_path, monkeypatch) -> Path:
    """Recipes in a folder, with a base beside them and one above."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "shared.yaml": SHARED,
        "mine/base.yaml": "base: ../shared.yaml\nseed: 5\nenv: {OF_MINE: 2}\n",
        "mine/grpo.yaml": "# Plain GRPO\nbase: base.yaml\nnum_prefix_generations: 0\noutput_dir: runs/grpo\n",
        "mine/sft.yaml": "base: base\ntrainer: sft\noutput_dir: runs/sft\n",
        "mine/both.yaml": "base: base.yaml\noutput_dir: runs/both\n"
        "stages: {sft: {trainer: sft, learning_rate: 1.0e-4}, rft: {num_prefix_generations: 0}}\n",
    }.items():
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return Path("mine")


def test_the_settings_of_the_recipe_win_and_a_mapping_replaces_that_of_the_base(recipes):
    resolved = load_recipe("mine/grpo.yaml")
    changed = {"seed": 5, "env": {"OF_MINE": 2}, "num_prefix_generations": 0, "output_dir": "runs/grpo"}
    assert resolved == {**yaml.safe_load(SHARED), **changed}
    assert load_recipe(recipes / "sft.yaml").keys() == resolved.keys() - {
        "num_generations", "num_prefix_generations", "max_completion_length",
    } | {"trainer"}  # fmt: skip


def test_each_setting_has_the_file_that_it_stands_in(recipes):
    recipe = Recipe.read(["--config", "mine/both.yaml"])
    named = {name: str(file) for name, file in recipe.origins.items()}
    assert named.keys() == recipe.settings.keys()
    assert (named["num_generations"], named["seed"], named["stages"]) == (
        "mine/../shared.yaml", "mine/base.yaml", "mine/both.yaml",
    )  # fmt: skip
    first = recipe.trainings(is_setting)[0].origins
    assert (first["learning_rate"].name, first["seed"].name) == ("both.yaml", "base.yaml")


@pytest.mark.parametrize(
    ("line", "trainers"),
    [
        (["mine/grpo.yaml"], ["prefix_grpo"]),
        (["mine/other.yaml", "--trainer", "sft"], ["sft"]),
        (["mine/other.yaml", "--trainer=sft", "--max_steps", "1"], ["sft"]),
        (["mine/sft.yaml", "--trainer", "prefix_grpo"], ["prefix_grpo"]),
        (["mine/both.yaml", "--rft.trainer", "sft", "--sft.trainer", "prefix_grpo"], ["prefix_grpo", "sft"]),
        (["mine/both.yaml", "--sft.trainer", "prefix_grpo", "--sft.num_generations", "2"], ["prefix_grpo"] * 2),
    ],
    ids=" ".join,
)
def test_the_command_line_can_name_another_trainer(recipes, line, trainers):
    (recipes / "other.yaml").write_text("base: base.yaml\noutput_dir: runs/other\n")
    (recipes / "both.yaml").write_text(
        "base: base.yaml\nstages: {sft: {trainer: sft}, rft: {learning_rate: 1.0e-4}}\noutput_dir: runs/both\n"
    )
    trainings = Recipe.read(["--config", *line]).trainings(is_setting)
    assert [training.trainer for training in trainings] == trainers
    for training in trainings:
        check_stage(training)
        assert ("num_generations" in training.settings) == (training.trainer == "prefix_grpo")


def test_a_recipe_of_the_package_is_a_base_by_its_name(recipes):
    (recipes / "own.yaml").write_text("base: lab/grpo\nmax_steps: 3\n")
    packaged = yaml.safe_load((FOLDER / "lab/grpo.yaml").read_text())
    assert load_recipe("mine/own") == {**packaged, "max_steps": 3}
    (recipes / "lab").mkdir()
    (recipes / "lab" / "grpo").write_text("seed: 9\n")  # a file beside it comes first
    assert load_recipe("mine/own") == {"seed": 9, "max_steps": 3}


@pytest.mark.parametrize("name", ["grpo", "sft", "both"])
def test_a_recipe_with_a_base_is_shown_as_one_that_stands_alone(name, recipes, capsys):
    assert main(["recipes", "show", f"mine/{name}.yaml"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == load_recipe(f"mine/{name}.yaml")
    assert all(f"# {file}\n" in text for file in ("mine/../shared.yaml", "mine/base.yaml", f"mine/{name}.yaml"))
    assert ("# Plain GRPO\n" in text) == (name == "grpo")
    assert main(["recipes", "copy", f"mine/{name}.yaml", "alone.yaml"]) == 0
    shown, defaults, _ = text.partition("\n# All others have their defaults")
    assert defaults
    assert Path("alone.yaml").read_text() == shown


def test_a_recipe_that_opens_with_its_own_path_has_that_heading_once(recipes, capsys):
    (recipes / "own.yaml").write_text("# mine/own.yaml\n# Slowly\nbase: base.yaml\nlearning_rate: 1.0e-6\n")
    assert main(["recipes", "show", "mine/own.yaml"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Slowly\n")
    assert text.count("# mine/own.yaml\n") == 1


def test_a_folder_that_is_copied_keeps_its_bases(recipes, capsys):
    assert main(["recipes", "copy", "mine", "copies"]) == 0
    for file in recipes.iterdir():
        assert Path("copies/mine", file.name).read_text() == file.read_text()


def test_a_run_is_recorded_and_recognised_by_its_resolved_settings(recipes, capsys):
    assert main(["train", "--config", "mine/both.yaml"]) == 0
    recorded = yaml.safe_load(Path("runs/both/sft/recipe.yaml").read_text())
    assert recorded["learning_rate"] == 1e-4
    assert recorded["seed"] == 5
    assert "base" not in recorded
    Path("mine/base.yaml").write_text("base: ../shared.yaml\nseed: 6\n")
    assert main(["train", "--config", "mine/both.yaml", "--resume_from_checkpoint", "last"]) == 0
    assert "settings of runs/both have changed (seed: 5 there, 6 here)" in capsys.readouterr().err
