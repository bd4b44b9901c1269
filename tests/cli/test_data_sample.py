"""What `prefix-rft data sample` writes can be checked and trained on."""

from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Demonstrations of the lab, of problems of which one has several."""
    output = tmp_path_factory.mktemp("made") / "own.jsonl"
    small = ["--num_problems", "16", "--num_samples", "16", "--keep", "2", "--all", "--backend", "transformers"]
    line = ["data", "sample", "--recipe", "lab/prefix_rft", "--lab_level", "easy", *small, "--output", str(output)]
    assert main(line) == 0
    return output


def test_it_passes_the_check(made, capsys):
    recipe = ["--recipe", "lab/prefix_rft", "--benchmarks"]
    assert main(["data", "check", str(made), *recipe]) in (0, 1)
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if "   " in line]
    found = {line[:60].strip(): line.split()[-2] for line in lines if line.rstrip().endswith("%")}
    assert set(found) <= {"no demonstration, or an empty one", "several demonstrations"}, said


@pytest.mark.parametrize("recipe", ["prefix_rft", "sft", "grpo"])
def test_it_trains_with_the_recipes_of_the_lab(made, tmp_path, recipe):
    small = ["--max_steps", "1", "--measure_steps", "0", "--lab_level", "easy", "--output_dir", str(tmp_path)]
    batch = [] if recipe == "sft" else ["--per_device_train_batch_size", "16", "--max_completion_length", "24"]
    line = ["train", "--config", str(FOLDER / f"lab/{recipe}.yaml"), "--dataset_name", str(made), *small, *batch]
    assert main(line) == 0
    assert (tmp_path / "model.safetensors").is_file()


def test_a_folder_with_it_is_a_dataset_without_its_samples(made):
    from prefix_rft_trl.data.loading import load_splits

    assert len(load_splits(str(made.parent))["train"]) == 16
