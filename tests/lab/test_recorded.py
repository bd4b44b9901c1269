"""What the package says of SmolLM2 was trained with the recipes that it has."""

from typing import Any

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.utils.recipe_files import FOLDER


NOT_OF_A_TRAINING = {"output_dir", "seed", "base"}


def settings_of(recipe: str) -> dict[str, Any]:
    settings = dict(read_with_bases(FOLDER / "smollm2" / f"{recipe}.yaml")[0])
    stages = settings.pop("stages", {})
    own = {f"{stage}.{name}": value for stage, given in stages.items() for name, value in given.items()}
    return {name: value for name, value in (settings | own).items() if name not in NOT_OF_A_TRAINING}


METHODS = lab.recorded_results()["tables"][0]["rows"]


@pytest.mark.parametrize("row", METHODS, ids=[row["label"] for row in METHODS])
def test_recorded_runs_are_of_the_recipes(row):
    (experiment,) = row["experiments"]
    assert experiment["settings"] == settings_of(experiment["recipe"])
    for run in experiment["runs"]:
        steps = [line["step"] for line in run["curve"]]
        assert steps == sorted(set(steps))
        assert steps[0] == 0
        assert 0 <= run["curve"][-1]["accuracy"] <= 1
