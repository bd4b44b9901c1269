"""Tasks of reasoning-gym by name in recipes and on the command line."""

import json
import subprocess
import sys

import pytest
import yaml

from prefix_rft_trl.cli.launch.training_script import main


pytest.importorskip("reasoning_gym")

SMALL = {
    "use_cpu": True, "bf16": False, "dtype": "float32", "report_to": "none", "save_strategy": "no", "max_steps": 1,
    "logging_steps": 1, "per_device_train_batch_size": 8, "max_completion_length": 48,
    "reward_funcs": ["reasoning_gym_score"],
}  # fmt: skip


def write_recipe(folder, model, **settings):
    path = folder / "recipe.yaml"
    places = {"model_name_or_path": str(model), "output_dir": str(folder / "out")}
    path.write_text(yaml.safe_dump({**places, **SMALL, **settings}))
    return str(path)


def test_a_recipe_trains_on_a_task_and_measures_on_its_test_split(text_model, tmp_path):
    recipe = write_recipe(
        tmp_path,
        text_model,
        dataset_name="reasoning_gym/count_bits",
        reasoning_gym={"size": 4, "test_size": 9, "max_n": 15},
        instruction="Think, then write the answer in <answer> tags.",
        measure_steps=1,
        measure_rows=2,
        measure_max_new_tokens=4,
        log_completions=True,
    )
    flags = ["--reasoning_gym", json.dumps({"size": 6, "test_size": 2, "max_n": 1000})]
    done = subprocess.run(
        [sys.executable, "-m", "prefix_rft_trl.cli.main", "train", "--config", recipe, *flags],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    (state,) = [line for line in log if "prefix/demonstration_share" in line]
    assert state["prefix/demonstration_share"] == 1.0
    assert state["rewards/reasoning_gym_score/mean"] >= 0
    assert 0 <= state["reasoning_gym/no_answer"] <= 1
    assert 0 <= state["reasoning_gym/refused"] <= 1
    lines = (tmp_path / "out" / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["accuracy"] for line in lines] == [0.0, 0.0]


def test_hybrid_rollouts_without_demonstrations_name_the_setting_to_change(text_model, tmp_path, capsys):
    settings = {"dataset_name": "reasoning_gym/gcd", "reasoning_gym": {"size": 4, "test_size": 0}}
    assert main(["--config", write_recipe(tmp_path, text_model, **settings)]) == 2
    assert "`num_prefix_generations=0` for plain GRPO" in capsys.readouterr().err


def test_a_wrong_task_option_stops_a_run_before_a_model_is_loaded(tmp_path, capsys):
    settings = {"dataset_name": "reasoning_gym/gcd", "reasoning_gym": {"num_terms": 4}}
    assert main(["--config", write_recipe(tmp_path, "no/such/model", **settings)]) == 2
    assert "'gcd' of reasoning-gym has no option 'num_terms'" in capsys.readouterr().err
