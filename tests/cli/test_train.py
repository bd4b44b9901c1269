import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM
from trl import GRPOConfig, ScriptArguments

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments, is_setting, make_parser
from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.cli.train import help_text


RECIPES = Path(__file__).parents[2] / "recipes"
LAB = RECIPES / "lab" / "prefix_rft.yaml"
SMALL = ["--max_steps", "1", "--logging_steps", "1", "--per_device_train_batch_size", "8"]


def test_a_recipe_trains_and_the_printed_command_samples_from_its_model(prefix_rft, tmp_path):
    done = prefix_rft("train", "--config", LAB, *SMALL, "--output_dir", tmp_path / "model", "--learning_rate", "1e-3")
    assert done.returncode == 0, done.stderr
    assert "prefix/ratio=" in done.stdout
    assert "learning_rate=0.001" in done.stdout
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert "2507.01679" in (tmp_path / "model" / "README.md").read_text()
    line = next(line for line in done.stdout.splitlines() if "pipeline(" in line)
    program = shlex.split(line)
    sampled = subprocess.run([sys.executable, *program[1:]], check=True, capture_output=True, text=True).stdout
    assert "#" in sampled


def test_launcher_flags_reach_accelerate(prefix_rft, tmp_path):
    accelerate_config = tmp_path / "two_cpus.yaml"
    one_machine = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "machine_rank": 0}
    two_cpus = {**one_machine, "distributed_type": "MULTI_GPU", "use_cpu": True, "mixed_precision": "no"}
    accelerate_config.write_text(yaml.safe_dump(two_cpus))
    (tmp_path / "my_reward.py").write_text(
        "import os\n"
        "def count_processes(completions, **kwargs):\n"
        "    open(f'rank{os.environ[\"RANK\"]}-of-{os.environ[\"WORLD_SIZE\"]}', 'w').close()\n"
        "    return [float(len(text)) for text in completions]\n"
    )
    done = prefix_rft(
        "train", "--config", LAB, *SMALL, "--reward_funcs", "my_reward.count_processes", "--output_dir", "model",
        "--num_processes", "2", "--accelerate_config", accelerate_config, "--main_process_port", "0",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank0-of-2", "rank1-of-2"]


@pytest.mark.parametrize(
    ("flags", "code", "parts"),
    [
        (["--num_processes", "2"], 2, ["asked for 2 processes, but accelerate started 1"]),
        (["--prefix_ratio_high", "3"], 2, ["`prefix_ratio_high` must be", "from 0 to 1, found 3.0"]),
    ],
)
def test_an_error_in_the_script_is_one_sentence_and_an_exit_code(prefix_rft, flags, code, parts):
    done = prefix_rft("train", "--config", LAB, *SMALL, *flags)
    assert done.returncode == code
    assert all(part in done.stderr for part in parts), done.stderr
    assert "Traceback" not in done.stderr


def test_launcher_settings_of_a_recipe_train_an_adapter_on_a_dataset_in_a_file(prefix_rft, lab_recipe, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "3+4*2=", "a": "3+4=7;7*2=4;#4", "solution": "4"}\n' * 8)
    (tmp_path / "test.jsonl").write_text('{"q": "2+4*2=", "solution": "2"}\n')
    files = {"dataset_name": str(tmp_path / "rows.jsonl"), "dataset_test_file": str(tmp_path / "test.jsonl")}
    columns = {"prompt_column": "q", "demonstration_column": "a"}
    recipe = lab_recipe(num_processes=1, use_peft=True, **files, **columns)
    done = prefix_rft("train", f"--config={recipe}", *SMALL, "--output_dir", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "adapter_config.json").is_file()


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--config", LAB, "--lerning_rate", "1"], ["'lerning_rate'", "command line", "Did you mean 'learning_rate'"]),
        (["--config", LAB, "--learning_rate", "fast"], ["learning_rate", "fast"]),
        (["--config", LAB, "--accelerate_config", "zero9"], ["zero9"]),
        (["--config", LAB, "--accelerate_config"], ["--accelerate_config"]),
        (["--config", LAB, "--colour", "red"], ["'colour'"]),
        (["--config", RECIPES / "lab" / "prefix.yaml"], ["prefix_rft.yaml", "grpo.yaml"]),
        (["--config", "recipes/lab/prefix_rtf.yaml"], ["Did you mean 'lab/prefix_rft'?"]),
        (["--config", "lab"], ["'lab' is a folder. Name a recipe in it: ", "sft.yaml"]),
        (["--config", "lab/prefix_rft", "--model_name_or_path", "runs/typo"], ["There is no folder 'runs/typo' here"]),
        (["--config", "gsm8k/grpo", "--dataset_name", "lab"], ["this run is for GPUs"]),
        (["--config"], ["--config"]),
    ],
)
def test_a_wrong_flag_is_refused_with_the_fix(flags, parts, refusal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refusal("train", *flags)
    assert all(part in error for part in parts), error


@pytest.mark.parametrize("text", ["- a\n- list\n", "a: [1\n"])
def test_a_recipe_that_is_no_mapping_is_refused(refusal, tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    assert "recipe.yaml" in refusal("train", "--config", tmp_path / "recipe.yaml")


def test_a_missing_extra_is_named(refusal, monkeypatch):
    def without_deepspeed(arguments):
        raise ImportError("DeepSpeed is not installed")

    monkeypatch.setattr("accelerate.commands.launch.launch_command", without_deepspeed)
    error = refusal("train", "--config", LAB, "--accelerate_config", "zero2", "--num_processes=2")
    assert "prefix_rft_trl[deepspeed]" in error


MATH = "math_accuracy_reward"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"num_prefix_generation": 1},
            ["unknown setting 'num_prefix_generation' in the recipe", "Did you mean 'num_prefix_generations'?"],
        ),
        ({"demonstration_column": "worked"}, ["'worked'", "completion"]),
        ({"reward_funcs": ["nope"]}, ["'nope'", "lab_exact_answer"]),
        ({"prefix_ratio_high": 1.5}, ["prefix_ratio_high", "1.5"]),
        ({"dataset_name": "rows.csv"}, ["rows.csv"]),
        (
            {"reward_funcs": [MATH], "reward_kwargs": {MATH: {"solution_column": "right"}}},
            ["'right'", "solution_column", "completion"],
        ),
        ({"reward_kwargs": "{"}, ["`reward_kwargs` takes a mapping or a JSON object", "found '{'"]),
        ({"reward_kwargs": "[]"}, ["`reward_kwargs` takes a mapping or a JSON object", "found '[]'"]),
        ({"reward_funcs": None}, ["reward_funcs"]),
        ({}, ["no/such/model"]),
        ({"model_name_or_path": None}, ["model_name_or_path"]),
    ],
)
def test_wrong_settings_are_refused_before_the_model_is_loaded(changes, parts, refusal, lab_recipe):
    error = refusal("train", "--config", lab_recipe(**{"model_name_or_path": "no/such/model", **changes}))
    assert all(part in error for part in parts), error


@pytest.mark.parametrize(
    "recipe",
    sorted(path for path in RECIPES.glob("*/*.yaml") if "model_name_or_path" in path.read_text()),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_setting_of_every_recipe_exists_and_is_accepted(recipe):
    for stage in Recipe.read(["--config", str(recipe)]).trainings(is_setting):
        parser = make_parser(stage.trainer)
        assert parser.set_defaults_with_config(**stage.settings) == []
        assert parser.parse_args_into_dataclasses(["--use_cpu", "true", "--bf16", "false"])


def test_the_help_lists_every_setting_with_its_default():
    shown = help_text()
    for ours, trls in ((PrefixGRPOConfig, GRPOConfig), (PrefixScriptArguments, ScriptArguments)):
        inherited = {field.name for field in fields(trls)}
        added = {field.name: field.default for field in fields(ours) if field.name not in inherited}
        assert len(added) >= 10
        for name, default in added.items():
            assert f"  --{name} ({str(default).encode('unicode_escape').decode()})\n      " in shown
