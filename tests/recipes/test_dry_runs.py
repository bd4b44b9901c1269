"""Dry runs of recipes for many GPUs, on a machine without one, with tiny models in place of those on the Hub."""

from pathlib import Path

import pytest

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


NAME = "Qwen/Qwen2.5-Math-7B"


@pytest.mark.parametrize("recipe", ["prefix_rft", "sft_then_rft"])
def test_a_recipe_for_many_gpus_is_described_without_one(recipe, stand_ins, problems, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = FOLDER / "qwen2.5-math-7b" / f"{recipe}.yaml"
    flags = ["--model_name_or_path", str(stand_ins[NAME]), "--dataset_name", problems, "--num_processes", "8"]
    flags += [
        "--accelerate_config",
        "zero2",
        "--per_device_train_batch_size",
        "2",
        "--gradient_accumulation_steps",
        "4",
    ]
    assert main(["train", "--config", str(path), *flags, "--dry_run"]) == 2
    printed = capsys.readouterr()
    page = " ".join(printed.out.split())
    assert [line for line in printed.out.splitlines() if len(line) > 80] == []
    assert "A step trains on 8 prompts x 8 rollouts = 64 rollouts (8 processes x 4 passes x 2 rows)" in page
    assert "| <|im_start|>user" in page
    assert "as this machine has no GPU" in page
    assert "log-normal up to 8,192; 50% of groups without gradient, 50% of rows trained." in page
    assert "the changed model, with links to the weights" in page
    assert "this run is for GPUs" in printed.err
    assert list(Path().iterdir()) == []
