from pathlib import Path

import pytest

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main


RECIPES = Path(__file__).parents[2] / "recipes"
LAB = RECIPES / "lab" / "prefix_rft.yaml"


def inspect(*arguments: object) -> int:
    return main(["inspect", *map(str, arguments)])


def test_a_recipe_gives_a_page_and_a_line_a_row(capsys, tmp_path):
    output = tmp_path / "pages" / "lab.html"
    assert inspect("--config", LAB, "--rows", 2, 5, "--output", output, "--num_generations", "4") == 0
    shown = capsys.readouterr().out
    assert str(output) in shown
    lines = [line for line in shown.splitlines() if line.startswith("row ")]
    assert [line.split(":")[0] for line in lines] == ["row 2", "row 5"]
    assert all("reward" in line and "advantage" in line and "prefix tokens selected" in line for line in lines)
    html = output.read_text(encoding="utf-8")
    dataset = lab.load_dataset("train", 6, level="hard")
    assert all(dataset[row]["prompt"] in html for row in (2, 5))
    assert all(part in html for part in ("50 of 100", "1 hybrid of 4", "lab, split train", "top_entropy", str(LAB)))
    assert [path.name for path in output.parent.iterdir()] == ["lab.html"]


def test_a_trained_model_is_shown_at_the_given_step(capsys, tmp_path, base_model):
    output = tmp_path / "page.html"
    arguments = ["--config", LAB, "--rows", 0, "--output", output, "--model_name_or_path", base_model, "--at_step", 0]
    assert inspect(*arguments) == 0
    html = output.read_text(encoding="utf-8")
    assert "0 of 100" in html
    assert "drawn from 0.95 to 0.95" in html
    assert base_model in html


@pytest.mark.parametrize(
    ("changes", "flags", "parts"),
    [
        ({}, ["--rows", "0", "512"], ["no row 512", "512 rows"]),
        ({}, ["--rows", "-1"], ["no row -1", "512 rows"]),
        ({}, ["--num_prefix_generations", "0"], ["`num_prefix_generations: 0`", "--num_prefix_generations 1"]),
        ({}, ["--lerning_rate", "1"], ["'lerning_rate'", "Did you mean 'learning_rate'"]),
        ({}, ["--trainer", "sft"], ["trainer", "sft", "recipe with prefixes"]),
        ({"trainer": "sft"}, [], ["trainer", "sft", "recipe with prefixes"]),
        ({"stages": {"sft": {"trainer": "sft"}, "rft": {}}}, [], ["stages", "recipe with prefixes"]),
        ({}, ["--num_generations", "many"], ["num_generations", "many"]),
        ({}, ["--prefix_selection", "best"], ["prefix_selection", "best", "top_entropy"]),
    ],
)
def test_a_wrong_setting_is_refused_with_the_fix_before_a_model_is_loaded(
    refusal, lab_recipe, tmp_path, changes, flags, parts
):
    output = tmp_path / "made" / "page.html"
    error = refusal("inspect", "--config", lab_recipe(**changes), "--output", output, *flags)
    assert all(part in error for part in parts), error
    assert "Loading" not in error
    assert not output.parent.exists()


def test_a_step_after_the_end_of_the_run_is_refused(refusal, tmp_path):
    error = refusal("inspect", "--config", LAB, "--output", tmp_path / "page.html", "--at_step", 121)
    assert "no step 121" in error
