"""The commands in the comments of recipes for large models: those that need GPUs are parsed but not run."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from prefix_rft_trl.cli.launch.arguments import is_setting, split_launcher_flags
from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.recipe_files import FOLDER


ROOT = Path(__file__).parents[2]
RECIPES = sorted(path for method in FOLDER.glob("*/uft.yaml") for path in method.parent.glob("*.yaml"))
RECIPES = [path for path in RECIPES if path.parent.name not in ("lab", "lab-map", "smollm2")]
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")


def comment(recipe: Path) -> str:
    return recipe.read_text().partition("\n\n")[0]


def commands(recipe: Path) -> list[str]:
    """The indented lines, joined where they end in a backslash."""
    found = re.findall(r"^#   (\S(?:.*\\\n#\s+)*.*)$", comment(recipe), re.MULTILINE)
    return [re.sub(r"\\\n#\s+", "", line) for line in found]


def parse_training(line: list[str]) -> None:
    """Does what `prefix-rft train` does before it launches anything."""
    for stage in Recipe.read(line).trainings(is_setting):
        launched = launch_command_parser().parse_args([*split_launcher_flags(stage)[0], "script.py"])
        assert launched.num_processes in (1, 8)
        assert launched.config_file is None or Path(launched.config_file).is_file()


@each_recipe
def test_the_commands_of_a_recipe_parse_and_name_it(recipe, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = commands(recipe)
    own = f"recipes/{recipe.parent.name}/{recipe.name}"
    kinds = []
    for line in found:
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
            script_text = (FOLDER / "slurm" / "vllm_server.slurm").read_text()
            assert f"MODEL({recipe.parent.name}/{recipe.stem})" in words
            assert all(flag in script_text for flag in words if flag.startswith("--"))
        elif words[:2] == ["prefix-rft", "data"]:
            assert "--recipe" not in words or words[-1] == own
        else:
            assert words[:2] == ["python", "benchmarks/expected_cost.py"]
            assert words[2] == own
    expected = {"prefix-rft data", "prefix-rft train", "python benchmarks/expected_cost.py"}
    assert expected <= set(kinds)
    many = recipe.parent.name != "qwen2.5-math-1.5b-one-gpu"
    assert ("vllm serve" in kinds) == (many and recipe.stem not in ("sft", "dft"))
    assert any(kind.startswith("sbatch") for kind in kinds) == many


@each_recipe
def test_the_expected_memory_and_time_are_what_the_command_prints(recipe, cost, monkeypatch, capsys):
    line = next(line for line in commands(recipe) if line.startswith("python benchmarks/expected_cost.py"))
    monkeypatch.setattr(sys, "argv", shlex.split(line)[1:])
    cost.main()
    printed = capsys.readouterr().out.splitlines()
    assert all(f"# {one}" in comment(recipe).splitlines() for one in printed)
    assert len(printed) == (4 if recipe.stem == "sft_then_rft" else 2)


def test_the_commands_of_a_recipe_convert_and_check_its_data(stand_ins, openr1_rows, tmp_path, monkeypatch, capsys):
    """Those of one recipe: others differ in the names of files and models."""
    monkeypatch.chdir(tmp_path)
    recipe = FOLDER / "qwen2.5-math-1.5b-one-gpu" / "luffy.yaml"
    make, check = (shlex.split(line)[1:] for line in commands(recipe) if line.startswith("prefix-rft data"))
    make[make.index("--tokenizer") + 1] = str(stand_ins["Qwen/Qwen2.5-Math-1.5B"])
    assert main([*make, "--input", openr1_rows]) == 0
    code = main([*check, "--tokenizer", str(stand_ins["Qwen/Qwen2.5-Math-1.5B"]), "--benchmarks"])
    shown = capsys.readouterr()
    assert code == 0, shown.out + shown.err
    assert "openr1-math-3k.parquet" in shown.out
