"""Each setting that docs/migrating.md gives for one of another trainer exists, and accepts the value shown."""

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
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.rewards import load_reward


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text()
TRAINER_SETTINGS = {field.name for field in fields(PrefixGRPOConfig)}
SCRIPT_SETTINGS = {field.name for field in fields(PrefixScriptArguments)}
MODEL_SETTINGS = {field.name for field in fields(ModelConfig)}


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


LAUNCHER_SETTINGS = {option.removeprefix("--") for option in options(launch_command_parser())} | {"accelerate_config"}
FLAGS = options(make_parser()) | {"--accelerate_config"}


def cells_here() -> list[str]:
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


CELLS = cells_here()
OTHERS = {"const", "data.max_prompt_length"}  # settings of other trainers that a cell mentions


def settings_in(cell: str) -> dict:
    spans = re.findall(r"`([^`]+)`", cell)
    read = [yaml.safe_load(span) for span in spans if re.match(r"\w+: ", span)]
    return {name: value for setting in read for name, value in setting.items()}


def test_the_tables_are_found():
    assert len(CELLS) > 60


@pytest.mark.parametrize("cell", [cell for cell in CELLS if "`" in cell])
def test_every_equivalent_setting_exists(cell):
    known = TRAINER_SETTINGS | SCRIPT_SETTINGS | MODEL_SETTINGS | LAUNCHER_SETTINGS
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
def test_every_equivalent_value_is_accepted(cell, tmp_path):
    given = settings_in(cell)
    for_trainer = {name: value for name, value in given.items() if name in TRAINER_SETTINGS}
    config = PrefixGRPOConfig(**{"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, **for_trainer})
    for name, value in for_trainer.items():
        assert getattr(config, name) == value or name in ("lr_scheduler_type", "eval_strategy", "report_to")
    for name in given.get("reward_funcs", []):
        if not name.startswith("my_package"):
            load_reward(name)
    for name, arguments in given.get("reward_kwargs", {}).items():
        load_reward(name, arguments)


def test_defaults_that_differ_from_trl_are_those_on_the_page(tmp_path):
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
