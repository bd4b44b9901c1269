"""The commands that the recipes for large models show: those that need GPUs are read to the end of their lines."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from prefix_rft_trl.cli.launch.recipe import Stage, read_recipe, split_stages
from prefix_rft_trl.cli.launch.training_script import make_parser
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.cli.train import knows_setting, launcher_flags
from prefix_rft_trl.utils.recipe_files import FOLDER


ROOT = Path(__file__).parents[2]
RECIPES = sorted(path for method in FOLDER.glob("*/uft.yaml") for path in method.parent.glob("*.yaml"))
RECIPES = [path for path in RECIPES if path.parent.name != "lab"]


def comment(recipe: Path) -> str:
    return recipe.read_text().partition("\n\n")[0]


def commands(recipe: Path) -> list[str]:
    """The lines that are set in, those that end in a backslash joined with the next."""
    found = re.findall(r"^#   (\S(?:.*\\\n#\s+)*.*)$", comment(recipe), re.MULTILINE)
    return [re.sub(r"\\\n#\s+", "", line) for line in found]


def parse_training(line: list[str]) -> None:
    """What `prefix-rft train` does before it launches anything."""
    recipe, flags = read_recipe(line)
    for stage in split_stages(recipe, flags, knows_setting):
        parser = make_parser(Stage("", stage.settings, stage.flags).trainer)
        launcher = launch_command_parser()
        of_launcher, _ = launcher_flags(parser, launcher, stage.settings, stage.flags)
        launched = launcher.parse_args([*of_launcher, "script.py"])
        assert launched.num_processes in (1, 8)
        assert launched.config_file is None or Path(launched.config_file).is_file()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_commands_of_a_recipe_are_commands(recipe, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = commands(recipe)
    own = f"recipes/{recipe.parent.name}/{recipe.name}"
    kinds = []
    for line in found:
        # vLLM's environment and the model that a command of ours makes
        plain = line.removeprefix("VLLM_SERVER_DEV_MODE=1 ").replace("$(prefix-rft recipes model ", "MODEL(")
        words = shlex.split(plain)
        kinds.append(" ".join(words[:2]))
        if words[:2] == ["prefix-rft", "train"]:
            assert words[words.index("--config") + 1] == own
            parse_training(words[2:])
        elif words[0] == "sbatch":
            script, given, *settings = (word for word in words[1:] if word != "--nodes=2")
            assert (ROOT / script).is_file()
            assert given == own
            assert not settings
        elif words[0] == "vllm":
            of_script = (FOLDER / "slurm" / "vllm_server.slurm").read_text()
            assert f"MODEL({recipe.parent.name}/{recipe.stem})" in words
            assert all(flag in of_script for flag in words if flag.startswith("--"))
        elif words[:2] == ["prefix-rft", "data"]:
            assert "--recipe" not in words or words[-1] == own
        else:
            assert words[:2] == ["python", "benchmarks/expected_cost.py"]
            assert words[2] == own
    expected = {"prefix-rft data", "prefix-rft train", "python benchmarks/expected_cost.py"}
    assert expected <= set(kinds)
    many = recipe.parent.name != "qwen2.5-math-1.5b-one-gpu"
    assert ("vllm serve" in kinds) == (many and recipe.stem != "sft")
    assert any(kind.startswith("sbatch") for kind in kinds) == many


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_memory_and_time_to_expect_are_what_the_command_prints(recipe, monkeypatch, capsys):
    line = next(line for line in commands(recipe) if line.startswith("python benchmarks/expected_cost.py"))
    monkeypatch.setattr(sys, "argv", shlex.split(line)[1:])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import expected_cost

    expected_cost.main()
    printed = capsys.readouterr().out.splitlines()
    assert all(f"# {one}" in comment(recipe).splitlines() for one in printed)
    assert len(printed) == (2 if recipe.stem == "sft_then_rft" else 1)


def test_the_data_of_a_recipe_is_made_and_checked_by_its_commands(stand_ins, tmp_path, monkeypatch, capsys):
    """Of one recipe: they differ in the names of files and models."""
    monkeypatch.chdir(tmp_path)
    row = (
        '{"prompt": [{"role": "user", "content": "1+1?"}], "target": [{"role": "assistant", "content": "<think>\\n1'
        '</think>\\\\boxed{2}"}], "reward_model": {"ground_truth": "2"}}\n'
    )
    Path("rows.jsonl").write_text(row)
    recipe = FOLDER / "qwen2.5-math-1.5b-one-gpu" / "luffy.yaml"
    make, check = (shlex.split(line)[1:] for line in commands(recipe) if line.startswith("prefix-rft data"))
    make[make.index("--tokenizer") + 1] = str(stand_ins["Qwen/Qwen2.5-Math-1.5B"])
    assert main([*make, "--input", "rows.jsonl"]) == 0
    assert main([*check, "--tokenizer", str(stand_ins["Qwen/Qwen2.5-Math-1.5B"]), "--benchmarks"]) == 0
    assert "openr1-math-3k.parquet" in capsys.readouterr().out
