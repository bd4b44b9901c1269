"""A recipe with a second dataset of demonstrations: what is read, what is left out, and what identifies the run."""

import json
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl import lab
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.fingerprint import RunFingerprint


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Writes a recipe of two steps in a folder of its own, with the rows of the second dataset."""
    monkeypatch.chdir(tmp_path)

    def write(rows, **settings):
        (tmp_path / "second.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        small = {
            "model_name_or_path": "lab", "dataset_name": "lab", "reward_funcs": "lab_exact_answer", "max_steps": 2,
            "num_generations": 4, "num_prefix_generations": 0, "per_device_train_batch_size": 4, "logging_steps": 1,
            "max_completion_length": 40, "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no",
            "output_dir": "run", "demonstration_dataset_name": "second.jsonl", "prefix_loss_type": "chord_phi",
            "per_device_demonstration_batch_size": 2, "prefix_loss_coef": 0.1, "prefix_top_entropy_quantile": 1.0,
        }  # fmt: skip
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**small, **settings}))
        return ["train", "--config", "recipe.yaml"]

    return write


def test_held_out_problems_are_not_trained_and_trained_tokens_are_counted(recipe, caplog, capsys):
    rows = lab.load_dataset("test", 8).to_list()
    command = recipe(rows, measure_steps=2, measure_rows=5, measure_max_new_tokens=4)
    assert main(command) == 0
    assert "5 of 8 problems of `demonstration_dataset_name` are held out, and are not trained on" in caplog.text
    *_, last = [json.loads(line) for line in Path("run/curve.jsonl").read_text().splitlines()]
    tokens = {len(row["completion"]) + 1 for row in rows}
    assert last["trained_tokens"] - last["generated_tokens"] == 4 * tokens.pop()
    assert last["demonstrations/epoch"] == pytest.approx(4 / 3)
    capsys.readouterr()


def test_dry_run_names_the_second_dataset(recipe, capsys):
    assert main([*recipe(lab.load_dataset("demonstrations", 8).to_list()), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "second.jsonl: 8 rows of demonstrations beside them." in said
    assert "Beside them it trains 2 demonstrations of the second dataset." in said


def test_second_dataset_is_part_of_the_run(recipe, tmp_path):
    given = {"dataset_name": "lab", "demonstration_dataset_name": str(tmp_path / "second.jsonl")}
    recipe([{"prompt": "3+4="}])
    there = RunFingerprint.from_settings(given)
    assert there.changes(RunFingerprint.from_settings(given)) == []
    recipe([{"prompt": "3+5="}])
    (change,) = there.changes(RunFingerprint.from_settings(given))
    assert change.setting == "demonstration_dataset"
    assert change.is_of_identity
