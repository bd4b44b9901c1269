"""`prefix-rft recipes`, and recipes by their names in other commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from prefix_rft_trl import lab
from prefix_rft_trl.cli.launch.arguments import is_setting
from prefix_rft_trl.cli.launch.recipe import Recipe, load_recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.cli.recipes import purpose
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.recipe_files import FOLDER, find_recipe_file


RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(autouse=True)
def outside_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shown(capsys, *line: str) -> str:
    assert main(["recipes", *line]) == 0
    return capsys.readouterr().out


def write_rows(**row: object) -> dict[str, object]:
    """Writes a dataset of one row; returns the recipe of a run on it."""
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")
    return {"model_name_or_path": "lab", "dataset_name": "rows.jsonl"}


def check_data(recipe: dict[str, object]) -> int:
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    return main(["data", "check", "--recipe", "mine.yaml", "--benchmarks"])


def test_the_list_has_each_recipe_once_with_what_it_trains(capsys):
    lines = shown(capsys).splitlines()
    for name in ("lab/prefix_rft", "gsm8k/boxed", "qwen2.5-math-7b/luffy", "qwen2.5-math-1.5b-one-gpu/sft_then_rft"):
        assert sum(line.split(" ")[0] == name for line in lines) == 1
    assert not any(line.startswith(("accelerate/", "slurm/", "lab/comparison")) for line in lines)
    for path in RECIPES.glob("*/prefix_rft.yaml"):
        assert purpose(path).startswith("Prefix-RFT"), path
    assert purpose(RECIPES / "lab" / "grpo.yaml") == "RFT, plain GRPO (Dr. GRPO), on the lab's hard level"


@pytest.mark.parametrize("name", ["lab/sft", "lab/sft.yaml", "recipes/lab/sft.yaml", "recipes/lab/sft"])
def test_a_recipe_has_its_path_and_its_name_but_an_own_file_comes_before_the_path(name, capsys):
    packaged, own = (RECIPES / "lab" / "sft.yaml").read_text(), Path("recipes/lab/sft.yaml")
    assert shown(capsys, "show", name) == packaged
    own.parent.mkdir(parents=True)
    own.write_text("mine: 1\n")
    assert shown(capsys, "show", name) == ("mine: 1\n" if name.startswith("recipes/") else packaged)


def test_a_copy_names_itself_and_is_not_overwritten(capsys, refusal):
    assert shown(capsys, "copy", "lab/sft", "mine").strip() == "mine/sft.yaml"
    assert "#   prefix-rft train --config mine/sft.yaml\n" in Path("mine/sft.yaml").read_text()
    Path("mine/sft.yaml").write_text("changed: 1\n")
    assert "exists already" in refusal("recipes", "copy", "lab/sft", "mine")
    assert Path("mine/sft.yaml").read_text() == "changed: 1\n"
    assert shown(capsys, "copy", "qwen2.5-math-7b/uft", "a/name.yaml").strip() == "a/name.yaml"
    assert "vllm serve $(prefix-rft recipes model a/name.yaml) " in Path("a/name.yaml").read_text()
    shown(capsys, "copy", "lab", "all")
    assert {path.name for path in Path("all/lab").iterdir()} == {path.name for path in (RECIPES / "lab").iterdir()}


def test_the_model_of_a_recipe_is_made_with_its_changes(capsys):
    assert shown(capsys, "model", "lab/sft").strip() == lab.base_model_path("hard")
    Path("mine.yaml").write_text("model_name_or_path: lab\nmodel_changes: {folder: models/mine, eos_token: '='}\n")
    assert shown(capsys, "model", "mine.yaml").splitlines()[-1] == "models/mine"
    assert Path("models/mine/config.json").is_file()
    assert shown(capsys, "model", "mine.yaml", "--model_changes", "{}").strip() == lab.base_model_path("easy")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["recipes", "show", "lab/stf"], "there is no recipe 'lab/stf'. Did you mean 'lab/sft'?"),
        (["recipes", "show", "lab"], "'lab' is a folder. Name a recipe in it: bread.yaml, chord_mu.yaml"),
        (["recipes", "show", "lab/sft", "--seed", "1"], "unknown: --seed 1"),
        (["recipes", "show", "lab/sft", "lab/uft"], "unknown: lab/uft"),
        (["recipes", "model", "lab/sft", "--model_nam", "foo"], "unknown setting 'model_nam'"),
        (["recipes", "model", "lab/sft", "--model_changes", "{"], "`model_changes` takes a mapping or a JSON object"),
        (["compare", "lab", "--seeds", "1", "--num_generations", "three"], "`num_generations` takes an integer"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_fix(line, found, refusal):
    assert found in refusal(*line)


def test_a_server_is_given_the_model_that_the_run_trains(capsys):
    changes = {"folder": "changed", "eos_token": "=", "config": {"max_position_embeddings": 99}}
    line = ["lab/prefix_rft", "--lab_level", "easy", "--model_changes", json.dumps(changes)]
    assert shown(capsys, "model", *line).strip().splitlines()[-1] == "changed"
    more = ["--max_steps", "1", "--measure_steps", "0", "--output_dir", "run"]
    assert main(["train", "--config", *line, *more]) == 0
    for folder in ("run", "changed"):
        assert json.loads(Path(folder, "config.json").read_text())["max_position_embeddings"] == 99
    capsys.readouterr()
    assert shown(capsys, "model", "gsm8k/boxed", "--model_name_or_path", "some/other").strip() == "some/other"


def test_only_the_first_stage_changes_its_model():
    recipe = load_recipe("lab/sft_then_rft") | {"model_changes": {"folder": "models/x"}}
    assert ["model_changes" in stage.settings for stage in Recipe(recipe).trainings(is_setting)] == [True, False]
    recipe["stages"]["rft"]["model_changes"] = {"folder": "models/x"}
    with pytest.raises(UserError, match="stage 'rft' has `model_changes` of its own"):
        Recipe(recipe).trainings(is_setting)


def test_an_adapter_is_merged_for_the_next_stage():
    recipe = load_recipe("lab/sft_then_rft")
    recipe |= {"lab_level": "easy", "max_steps": 1, "measure_steps": 0, "use_peft": True, "lora_r": 2}
    recipe["stages"] = {name: {**own, "max_steps": 1, "learning_rate": 1.0} for name, own in recipe["stages"].items()}
    Path("two.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    assert main(["train", "--config", "two.yaml", "--output_dir", "run"]) == 0
    base = json.loads(Path("run/adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == "run/sft/merged"
    folders = (lab.base_model_path("easy"), "run/sft", base)
    before, adapter, merged = (load_file(next(Path(folder).glob("*model.safetensors"))) for folder in folders)
    name = "model.layers.0.self_attn.q_proj"
    low, high = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    scale = 16 / 2  # lora_alpha / lora_r
    torch.testing.assert_close(merged[f"{name}.weight"], before[f"{name}.weight"] + scale * high @ low)
    # Without adapters into the same folder: nothing is left of the first run
    assert main(["train", "--config", "two.yaml", "--output_dir", "run", "--use_peft", "false", "--overwrite"]) == 0
    assert not list(Path("run").rglob("adapter_*"))
    assert not Path(base).exists()


def test_data_are_checked_with_the_template_and_the_context_of_the_changed_model(capsys):
    Path("brackets.jinja").write_text("{% for message in messages %}{{ message['content'] }}======{% endfor %}")
    recipe = write_rows(prompt=[{"role": "user", "content": "1+1="}], completion="2", solution="2")
    changes = {"folder": "models/x", "config": {"max_position_embeddings": 9}, "chat_template": "brackets.jinja"}
    check_data({**recipe, "max_completion_length": 4, "model_changes": changes})
    assert "10 tokens, 5 fit" in " ".join(capsys.readouterr().out.split())
    assert not Path("models").exists()  # making it would take the weights


def test_wrong_changes_of_the_model_are_reported_by_the_check_of_the_data(capsys):
    recipe = write_rows(prompt="1+1=", completion="2", solution="2")
    assert check_data({**recipe, "model_changes": {"eos_token": "="}}) == 2
    assert "needs a `folder`" in capsys.readouterr().err


def test_own_data_can_have_answers_in_the_form_of_the_lab():
    recipe = write_rows(prompt="1+1=", completion="1+1=2;#2", solution="2")
    assert check_data({**recipe, "reward_funcs": ["lab_exact_answer"], "max_completion_length": 56}) == 0


def test_a_column_that_the_reward_needs_is_missed_before_the_model_is_loaded(refusal):
    write_rows(prompt="1+1=", completion="#2", right="2")
    error = refusal("train", "--config", "lab/prefix_rft", "--dataset_name", "rows.jsonl", "--measure_steps", "0")
    assert "the reward 'exact_answer_reward' reads the column 'solution', and the dataset has: prompt" in error


def test_a_closed_pipe_gives_no_traceback():
    line = [sys.executable, "-m", "prefix_rft_trl.cli.main", "recipes"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b""


def test_a_folder_of_runs_hides_no_recipe_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab" / "sft").mkdir(parents=True)
    assert find_recipe_file("lab/sft") == FOLDER / "lab" / "sft.yaml"
    assert find_recipe_file("lab") == FOLDER / "lab"
    (tmp_path / "lab" / "mine.yaml").touch()
    assert find_recipe_file("lab") == Path("lab")
