import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from prefix_rft_trl.cli.main import main


RECIPES = Path(__file__).parents[2] / "recipes"
LAB = RECIPES / "lab" / "prefix_rft.yaml"
SMALL = ["--max_steps", "1", "--logging_steps", "1", "--per_device_train_batch_size", "8"]


def recipe_of(tmp_path: Path, **changes) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(LAB.read_text()), "max_steps": 1, **changes}))
    return path


def test_a_recipe_trains_and_the_line_that_it_prints_samples_from_the_model(prefix_rft, tmp_path):
    done = prefix_rft("train", "--config", LAB, *SMALL, "--output_dir", tmp_path / "model", "--learning_rate", "1e-3")
    assert done.returncode == 0, done.stderr
    assert "prefix/length" in done.stdout
    assert "'learning_rate': '0.001'" in done.stdout or "'learning_rate': 0.001" in done.stdout
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert "2507.01679" in (tmp_path / "model" / "README.md").read_text()
    line = next(line for line in done.stdout.splitlines() if "pipeline(" in line)
    program = shlex.split(line)
    sampled = subprocess.run([sys.executable, *program[1:]], check=True, capture_output=True, text=True).stdout
    assert "#" in sampled


def test_launcher_flags_reach_accelerate(prefix_rft, tmp_path):
    accelerate_config = tmp_path / "two_cpus.yaml"
    accelerate_config.write_text(
        yaml.safe_dump(
            {
                "compute_environment": "LOCAL_MACHINE",
                "distributed_type": "MULTI_GPU",
                "num_machines": 1,
                "machine_rank": 0,
                "use_cpu": True,
                "mixed_precision": "no",
            }
        )
    )
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


def test_fewer_processes_than_asked_for_are_not_put_up_with(prefix_rft):
    done = prefix_rft("train", "--config", LAB, *SMALL, "--num_processes", "2")
    assert done.returncode == 1
    assert "asked for 2 processes, but accelerate started 1" in done.stderr


def test_a_dataset_in_a_file_trains_with_an_adapter(prefix_rft, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "3+4*2=", "a": "3+4=7;7*2=4;#4", "solution": "4"}\n' * 8)
    done = prefix_rft(
        "train", "--config", LAB, *SMALL, "--dataset_name", tmp_path / "rows.jsonl", "--prompt_column", "q",
        "--demonstration_column", "a", "--use_peft", "true", "--measure_split", "train",
        "--output_dir", tmp_path / "model",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "adapter_config.json").is_file()


def test_launcher_settings_may_stand_in_the_recipe(prefix_rft, tmp_path):
    recipe = recipe_of(tmp_path, num_processes=1, per_device_train_batch_size=8)
    done = prefix_rft("train", f"--config={recipe}", "--output_dir", tmp_path / "model")
    assert done.returncode == 0, done.stderr


def said_before_launching(capsys, *arguments: str | Path) -> str:
    assert main(["train", *map(str, arguments)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--lerning_rate", "1"], ["'lerning_rate'", "command line", "Did you mean 'learning_rate'"]),
        (["--learning_rate", "fast"], ["learning_rate", "fast"]),
        (["--accelerate_config", "zero9"], ["zero9"]),
        (["--accelerate_config"], ["--accelerate_config"]),
        (["--colour", "red"], ["'colour'"]),
    ],
)
def test_a_wrong_flag_is_named_with_the_fix(capsys, flags, said):
    error = said_before_launching(capsys, "--config", LAB, *flags)
    assert all(part in error for part in said), error


def test_a_recipe_key_that_does_not_exist_suggests_the_nearest(capsys, tmp_path):
    error = said_before_launching(capsys, "--config", recipe_of(tmp_path, num_prefix_generation=1))
    assert "unknown setting 'num_prefix_generation' in the recipe" in error
    assert "Did you mean 'num_prefix_generations'?" in error


def test_a_missing_recipe_lists_those_beside_it(capsys):
    error = said_before_launching(capsys, "--config", RECIPES / "lab" / "prefix.yaml")
    assert "prefix_rft.yaml" in error
    assert "grpo.yaml" in error


def test_a_recipe_that_is_not_named_is_asked_for(capsys):
    assert "--config" in said_before_launching(capsys, "--config")


@pytest.mark.parametrize("text", ["- a\n- list\n", "a: [1\n"])
def test_a_recipe_that_is_no_mapping_is_refused(capsys, tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    assert "recipe.yaml" in said_before_launching(capsys, "--config", tmp_path / "recipe.yaml")


def test_a_missing_extra_is_named(capsys, monkeypatch):
    def without_deepspeed(arguments):
        raise ImportError("DeepSpeed is not installed")

    monkeypatch.setattr("accelerate.commands.launch.launch_command", without_deepspeed)
    error = said_before_launching(capsys, "--config", LAB, "--accelerate_config", "zero2", "--num_processes=2")
    assert "prefix_rft_trl[deepspeed]" in error


def test_an_error_in_the_script_is_one_sentence_and_exit_code_2(prefix_rft, tmp_path):
    done = prefix_rft("train", "--config", LAB, "--prefix_ratio_high", "3")
    assert done.returncode == 2
    assert "`prefix_ratio_high` is a share from 0 to 1, found 3.0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_name_or_path": "no/such/model", "demonstration_column": "worked"}, ["'worked'", "completion"]),
        ({"model_name_or_path": "no/such/model", "reward_funcs": ["nope"]}, ["'nope'", "lab_exact_answer"]),
        ({"model_name_or_path": "no/such/model", "prefix_ratio_high": 1.5}, ["prefix_ratio_high", "1.5"]),
        ({"model_name_or_path": "no/such/model", "dataset_name": "rows.csv"}, ["rows.csv"]),
        (
            {
                "model_name_or_path": "no/such/model",
                "reward_funcs": ["math_accuracy_reward"],
                "reward_kwargs": {"math_accuracy_reward": {"solution_column": "right"}},
            },
            ["'right'", "solution_column", "completion"],
        ),
        ({"model_name_or_path": "no/such/model", "reward_funcs": None}, ["reward_funcs"]),
        ({"model_name_or_path": "no/such/model"}, ["no/such/model"]),
        ({"model_name_or_path": None}, ["model_name_or_path"]),
    ],
)
def test_what_is_wrong_is_said_before_the_model_is_loaded(tmp_path, changes, said, monkeypatch, capsys):
    from prefix_rft_trl.cli.launch import training_script

    monkeypatch.setattr(sys, "argv", ["train", "--config", str(recipe_of(tmp_path, **changes))])
    assert training_script.main() == 2
    error = capsys.readouterr().err
    assert all(part in error for part in said), error


@pytest.mark.parametrize(
    "recipe",
    sorted(path for path in RECIPES.glob("*/*.yaml") if "model_name_or_path" in path.read_text()),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_setting_of_every_recipe_exists_and_is_accepted(recipe):
    from prefix_rft_trl.cli.launch.recipe import load_recipe, split_stages
    from prefix_rft_trl.cli.launch.training_script import make_parser
    from prefix_rft_trl.cli.train import knows_setting

    for stage in split_stages(load_recipe(recipe), [], knows_setting):
        parser = make_parser(stage.trainer)
        assert parser.set_defaults_with_config(**stage.settings) == []
        assert parser.parse_args_into_dataclasses(["--use_cpu", "true", "--bf16", "false"])


def test_the_help_lists_every_setting_of_prefix_rft_with_its_default():
    from dataclasses import fields

    from trl import GRPOConfig

    from prefix_rft_trl import PrefixGRPOConfig
    from prefix_rft_trl.cli.train import help_text

    inherited = {field.name for field in fields(GRPOConfig)}
    ours = {field.name: field.default for field in fields(PrefixGRPOConfig) if field.name not in inherited}
    shown = help_text()
    assert len(ours) >= 10
    assert all(f"--{name} ({default})" in shown for name, default in ours.items())
