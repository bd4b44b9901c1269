"""The recipes for SmolLM2-135M-Instruct train a step and are compared, with a tiny model in its place."""

import json
from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.comparison.spec import SPECIFICATION
from prefix_rft_trl.run.folder import read_curve
from prefix_rft_trl.utils.recipe_files import FOLDER


SMALL = ["--max_steps", "1", "--measure_rows", "4", "--measure_steps", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tiny_smollm2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


RECIPES = sorted(path.stem for path in (FOLDER / "smollm2").glob("*.yaml") if path.name != SPECIFICATION)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_a_step(recipe):
    flags = [*SMALL, "--lab_style", "brief", "--output_dir", "run"]
    assert main(["train", "--config", f"recipes/smollm2/{recipe}.yaml", *flags]) == 0
    assert [(line["step"], line["problems"]) for line in read_curve("run")] == [(0, 4), (1, 4)]


def test_two_of_them_are_compared():
    recipes = ["recipes/smollm2/rft.yaml", "recipes/smollm2/prefix_rft.yaml"]
    assert main(["compare", *recipes, "--seeds", "2", "--jobs", "2", *SMALL, "--output_dir", "runs"]) == 0
    (table,) = json.loads(Path("runs/results.json").read_text())["tables"]
    assert [len(row["experiments"][0]["runs"]) for row in table["rows"]] == [2, 2]
