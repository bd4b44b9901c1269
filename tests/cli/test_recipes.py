"""`prefix-rft recipes`, and recipes by their names in every command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from prefix_rft_trl import lab
from prefix_rft_trl.cli.launch.recipe import load_recipe, split_stages
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.cli.recipes import purpose
from prefix_rft_trl.cli.train import knows_setting
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.recipe_files import find_recipe_file


RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(autouse=True)
def outside_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def weights_of(folder: str) -> dict[str, torch.Tensor]:
    return load_file(next(Path(folder).glob("*model.safetensors")))


def shown(capsys, *line: str) -> str:
    assert main(["recipes", *line]) == 0
    return capsys.readouterr().out


def test_the_list_has_each_recipe_and_what_it_trains(capsys):
    lines = shown(capsys).splitlines()
    for name in ("lab/prefix_rft", "gsm8k/boxed", "qwen2.5-math-7b/luffy", "qwen2.5-math-1.5b-one-gpu/sft_then_rft"):
        assert sum(line.split(" ")[0] == name for line in lines) == 1
    assert not any(line.startswith(("accelerate/", "slurm/", "lab/comparison")) for line in lines)


def test_every_recipe_opens_with_what_it_trains():
    for path in RECIPES.glob("*/prefix_rft.yaml"):
        assert purpose(path).startswith("Prefix-RFT"), path
    assert purpose(RECIPES / "lab" / "grpo.yaml") == "RFT, plain GRPO (Dr. GRPO), on the lab's hard level"


@pytest.mark.parametrize("name", ["lab/sft", "lab/sft.yaml", "recipes/lab/sft.yaml"])
def test_a_recipe_is_shown_as_it_is_by_each_of_its_names(name, capsys):
    assert shown(capsys, "show", name) == (RECIPES / "lab" / "sft.yaml").read_text()


@pytest.mark.parametrize("name", ["recipes/lab/sft.yaml", "recipes/lab/sft"])
def test_a_file_of_ones_own_comes_before_the_package(name, capsys):
    own = Path("recipes/lab/sft.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("mine: 1\n")
    assert shown(capsys, "show", name) == "mine: 1\n"
    assert find_recipe_file("lab/sft") != own


def test_a_copy_is_made_once(capsys, tmp_path):
    assert shown(capsys, "copy", "lab/sft", "mine").strip() == "mine/sft.yaml"
    assert "#   prefix-rft train --config mine/sft.yaml\n" in Path("mine/sft.yaml").read_text()
    Path("mine/sft.yaml").write_text("changed: 1\n")
    assert main(["recipes", "copy", "lab/sft", "mine"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert Path("mine/sft.yaml").read_text() == "changed: 1\n"
    assert shown(capsys, "copy", "qwen2.5-math-7b/uft", "a/name.yaml").strip() == "a/name.yaml"
    assert "vllm serve $(prefix-rft recipes model a/name.yaml) " in Path("a/name.yaml").read_text()
    shown(capsys, "copy", "lab", "all")
    assert {path.name for path in Path("all/lab").iterdir()} == {path.name for path in (RECIPES / "lab").iterdir()}


def test_the_model_of_a_recipe_is_its_folder(capsys):
    assert shown(capsys, "model", "lab/sft").strip() == lab.base_model_path("hard")
    Path("mine.yaml").write_text("model_name_or_path: lab\nmodel_changes: {folder: models/mine, eos_token: '='}\n")
    assert shown(capsys, "model", "mine.yaml").splitlines()[-1] == "models/mine"
    assert Path("models/mine/config.json").is_file()
    assert shown(capsys, "model", "mine.yaml", "--model_changes", "{}").strip() == lab.base_model_path("easy")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["show", "lab/stf"], "there is no recipe 'lab/stf'. Did you mean 'lab/sft'?"),
        (["show", "lab"], "'lab' is a folder of recipes: lab/grpo, lab/luffy"),
        (["show", "lab/sft", "--seed", "1"], "unknown: --seed 1"),
        (["show", "lab/sft", "lab/uft"], "unknown: lab/uft"),
        (["model", "lab/sft", "--model_nam", "foo"], "unknown setting 'model_nam'"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line, found, capsys):
    assert main(["recipes", *line]) == 2
    assert found in capsys.readouterr().err


def test_a_run_takes_a_recipe_by_its_name_and_changes_its_model(capsys, tmp_path):
    changes = {"folder": str(tmp_path / "changed"), "config": {"max_position_embeddings": 99}}
    line = ["--lab_level", "easy", "--max_steps", "1", "--measure_steps", "0", "--output_dir", "run"]
    line += ["--model_changes", json.dumps(changes)]
    assert main(["train", "--config", "lab/prefix_rft", *line]) == 0
    for folder in ("run", "changed"):
        assert json.loads(Path(folder, "config.json").read_text())["max_position_embeddings"] == 99


def test_a_server_is_given_the_model_that_the_run_trains(capsys, tmp_path):
    changes = json.dumps({"folder": "changed", "eos_token": "="})
    line = ["lab/prefix_rft", "--lab_level", "easy", "--model_changes", changes]
    assert shown(capsys, "model", *line).strip().splitlines()[-1] == "changed"
    more = ["--max_steps", "1", "--measure_steps", "0", "--output_dir", "run"]
    assert main(["train", "--config", *line, *more]) == 0
    capsys.readouterr()
    assert shown(capsys, "model", "gsm8k/boxed", "--model_name_or_path", "some/other").strip() == "some/other"


def test_a_stage_cannot_change_the_model_of_the_one_before():
    recipe = load_recipe(Path("lab/sft_then_rft"))
    recipe["stages"]["rft"]["model_changes"] = {"folder": "models/x"}
    with pytest.raises(UserError, match="stage 'rft' has `model_changes` of its own"):
        split_stages(recipe, [], knows_setting)


def test_a_comparison_takes_a_folder_of_the_package(capsys):
    assert main(["compare", "lab", "--seeds", "1", "--num_generations", "three"]) == 2
    said = capsys.readouterr().err
    assert "num_generations" in said
    assert "no recipe" not in said


def test_a_second_stage_does_not_change_its_model_again():
    recipe = load_recipe(Path("lab/sft_then_rft")) | {"model_changes": {"folder": "models/x"}}
    stages = split_stages(recipe, [], knows_setting)
    assert ["model_changes" in stage.settings for stage in stages] == [True, False]


def test_an_adapter_is_merged_for_the_stage_that_goes_on_from_it(tmp_path):
    recipe = load_recipe(Path("lab/sft_then_rft"))
    recipe |= {"lab_level": "easy", "max_steps": 1, "measure_steps": 0, "use_peft": True, "lora_r": 2}
    recipe["stages"] = {name: {**own, "max_steps": 1, "learning_rate": 1.0} for name, own in recipe["stages"].items()}
    Path("two.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    assert main(["train", "--config", "two.yaml", "--output_dir", "run"]) == 0
    base = json.loads(Path("run/adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == "run/sft/merged"
    before, adapter, merged = (weights_of(path) for path in (lab.base_model_path("easy"), "run/sft", base))
    name = "model.layers.0.self_attn.q_proj"
    low, high = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    scale = 16 / 2  # lora_alpha / lora_r
    torch.testing.assert_close(merged[f"{name}.weight"], before[f"{name}.weight"] + scale * high @ low)
    # Again without adapters, into the same folder: nothing of the first run is taken for the second's
    assert main(["train", "--config", "two.yaml", "--output_dir", "run", "--use_peft", "false"]) == 0
    assert not list(Path("run").rglob("adapter_*"))
    assert not Path(base).exists()


def test_a_dataset_is_checked_with_the_template_and_the_context_that_the_run_gets(capsys):
    Path("brackets.jinja").write_text("{% for message in messages %}{{ message['content'] }}======{% endfor %}")
    row = {"prompt": [{"role": "user", "content": "1+1="}], "completion": "2", "solution": "2"}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")
    recipe = {"model_name_or_path": "lab", "dataset_name": "rows.jsonl", "max_completion_length": 4}
    recipe["model_changes"] = {"folder": "models/x", "config": {"max_position_embeddings": 9}}
    recipe["model_changes"]["chat_template"] = "brackets.jinja"
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    main(["data", "check", "--recipe", "mine.yaml", "--benchmarks"])
    assert "10 tokens, 5 fit" in " ".join(capsys.readouterr().out.split())
    assert not Path("models").exists()  # making it would take the weights


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["--config", "recipes/lab/prefix_rtf.yaml"], "Did you mean 'lab/prefix_rft'?"),
        (["--config", "lab"], "is a folder. In it: "),
        (["--config", "lab/prefix_rft", "--learning_rat", "1"], "unknown setting 'learning_rat'"),
        (["--config", "lab/prefix_rft", "--model_name_or_path", "runs/typo"], "There is no folder 'runs/typo' here"),
        (["--config", "gsm8k/boxed"], "this run is for GPUs"),
    ],
)
def test_what_a_newcomer_gets_wrong_is_said_in_a_sentence(line, found, capsys):
    assert main(["train", *line]) == 2
    assert found in capsys.readouterr().err


def test_a_column_that_the_reward_reads_is_asked_for_before_the_model_is_loaded(capsys):
    Path("rows.jsonl").write_text('{"prompt": "1+1=", "completion": "#2", "answer": "2"}\n')
    assert main(["train", "--config", "lab/prefix_rft", "--dataset_name", "rows.jsonl", "--measure_steps", "0"]) == 2
    said = capsys.readouterr().err
    assert "the reward 'exact_answer_reward' reads the column 'solution', and the dataset has: prompt" in said


def test_answers_in_the_labs_form_are_read_in_data_of_ones_own(capsys):
    Path("rows.jsonl").write_text('{"prompt": "1+1=", "completion": "1+1=2;#2", "solution": "2"}\n')
    recipe = {"model_name_or_path": "lab", "dataset_name": "rows.jsonl", "reward_funcs": ["lab_exact_answer"]}
    Path("mine.yaml").write_text(yaml.safe_dump({**recipe, "max_completion_length": 56}))
    assert main(["data", "check", "--recipe", "mine.yaml", "--benchmarks"]) == 0


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    line = [sys.executable, "-m", "prefix_rft_trl.cli.main", "recipes"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        assert listing.stderr.read() == b""


def test_changes_of_the_model_that_are_wrong_are_told_by_the_check_of_the_data_as_well(capsys):
    Path("rows.jsonl").write_text('{"prompt": "1+1=", "completion": "2", "solution": "2"}\n')
    recipe = {"model_name_or_path": "lab", "dataset_name": "rows.jsonl", "model_changes": {"eos_token": "="}}
    Path("mine.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["data", "check", "--recipe", "mine.yaml", "--benchmarks"]) == 2
    assert "needs a `folder`" in capsys.readouterr().err
