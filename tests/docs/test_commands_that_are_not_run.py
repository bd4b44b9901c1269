"""What the pages show beside what the tests run: commands for GPUs, the Hub or one's own data, read to their ends.

Those of docs/scaling.md are held in test_scaling_recipes.py, those of the recipes in tests/recipes.
"""

import re
import shlex
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from prefix_rft_trl.cli import data, data_check, eval
from prefix_rft_trl.cli.launch.recipe import read_recipe
from prefix_rft_trl.cli.launch.training_script import make_parser
from prefix_rft_trl.cli.train import launcher_flags


ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_shown() -> list[str]:
    lines = []
    for page in PAGES:
        if page.name != "scaling.md":
            for block in re.findall(r"```(?:shell|text)\n(.*?)```", page.read_text(), re.DOTALL):
                lines += re.sub(r"\\\n\s*", "", block).splitlines()
    return [line.strip() for line in lines if line.strip().startswith(("prefix-rft ", "sbatch ", "accelerate "))]


@pytest.mark.parametrize("line", dict.fromkeys(commands_shown()))
def test_a_command_parses_to_its_end(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, command, *words = shlex.split(line, comments=True)
    assert program == "prefix-rft", "how is this one held?"
    if command == "eval":
        assert eval._parser().parse_args(words).model
    elif command == "data" and words[0] == "check":
        data_check._parser().parse_args(words[1:])
    elif command == "data":
        data.make_parser().parse_args(words)
    else:
        assert command == "train"
        recipe, flags = read_recipe(words)
        launcher_flags(make_parser(), launch_command_parser(), recipe, flags)


def test_there_are_some():
    assert len(commands_shown()) >= 4
