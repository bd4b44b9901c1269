"""Each setting that docs/migrating.md puts beside those of other trainers exists, and takes the value shown."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from trl import GRPOConfig, ModelConfig

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.data import make_parser
from prefix_rft_trl.cli.launch.training_script import PrefixScriptArguments
from prefix_rft_trl.rewards import load_reward


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text()
OF_TRAINER = {field.name for field in fields(PrefixGRPOConfig)}
OF_SCRIPT = {field.name for field in fields(PrefixScriptArguments)}
OF_MODEL = {field.name for field in fields(ModelConfig)}


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


OF_LAUNCHER = {option.removeprefix("--") for option in options(launch_command_parser())} | {"accelerate_config"}
FLAGS = options(make_parser()) | {"--accelerate_config"}


def cells_of_this_package() -> list[str]:
    """The column "here" of every table."""
    found, place = [], None
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if "here" in cells:
            place = cells.index("here")
        elif not cells:
            place = None
        elif place is not None and not set(cells[0]) <= set("-: "):
            found.append(cells[place])
    return found


CELLS = cells_of_this_package()
OTHERS = {"const", "data.max_prompt_length"}  # settings of others that a cell speaks of


def settings_in(cell: str) -> dict:
    spans = re.findall(r"`([^`]+)`", cell)
    read = [yaml.safe_load(span) for span in spans if re.match(r"\w+: ", span)]
    return {name: value for setting in read for name, value in setting.items()}


def test_the_tables_are_found():
    assert len(CELLS) > 60


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "`" in cell])
def test_a_setting_beside_that_of_another_trainer_exists(cell):
    known = OF_TRAINER | OF_SCRIPT | OF_MODEL | OF_LAUNCHER
    for span in re.findall(r"`([^`]+)`", cell):
        if span.startswith("prefix-rft "):
            continue
        if span.startswith("--"):
            assert span in FLAGS
        elif span.startswith("recipes/"):
            assert (ROOT / span).is_file()
        else:
            assert span.partition(":")[0] in known | OTHERS, span


@pytest.mark.parametrize("cell", [cell for cell in CELLS if settings_in(cell)])
def test_the_value_beside_that_of_another_trainer_is_taken(cell, tmp_path):
    given = settings_in(cell)
    of_trainer = {name: value for name, value in given.items() if name in OF_TRAINER}
    config = PrefixGRPOConfig(**{"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, **of_trainer})
    for name, value in of_trainer.items():
        assert getattr(config, name) == value or name in ("lr_scheduler_type", "eval_strategy", "report_to")
    for name in given.get("reward_funcs", []):
        if not name.startswith("my_package"):
            load_reward(name)
    for name, arguments in given.get("reward_kwargs", {}).items():
        load_reward(name, arguments)


def test_defaults_that_differ_from_those_of_trl_are_the_ones_on_the_page(tmp_path):
    here = PrefixGRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    there = GRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    names = {field.name for field in fields(GRPOConfig)} - {"generation_batch_size"}
    differing = {name for name in names if getattr(here, name) != getattr(there, name)}
    section = PAGE.partition("### Defaults that differ")[2].partition("### The dataset")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    assert differing == set(re.findall(r"`(\w+)=", table)) - {"num_prefix_generations"}
    for name in differing:
        shown = re.search(rf"`{name}=([^`]+)`", table)
        assert yaml.safe_load(shown[1]) == getattr(there, name)
        assert settings_in(table)[name] == getattr(here, name)


def test_the_two_scripts_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scripts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert "max_steps=10" in script
        exec(script.replace("max_steps=10", "max_steps=1"), {})
