"""Types and ranges of settings, for every field of the configurations."""

import math
import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields, replace
from enum import Enum
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import IntervalStrategy
from transformers.trainer_pt_utils import AcceleratorConfig
from trl import ModelConfig

from prefix_rft_trl import PrefixGRPOConfig
from prefix_rft_trl.cli.launch.arguments import PrefixScriptArguments
from prefix_rft_trl.run.settings import RunSettings
from prefix_rft_trl.sft import DemonstrationSFTConfig
from prefix_rft_trl.utils.setting_ranges import RANGES, check_settings
from prefix_rft_trl.utils.setting_types import WIDER_HINTS, check_type, check_types


CONFIGS = [PrefixGRPOConfig, DemonstrationSFTConfig, PrefixScriptArguments, ModelConfig]
FIELDS = [(config, field) for config in CONFIGS for field in fields(config)]
PLAIN = {bool, int, float, str, list, dict, type(None)}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


def types_in(hint: object) -> set[type]:
    """The plain types of a hint; an integer counts as a number, and text as the name of a choice."""
    found = {part for inner in get_args(hint) for part in types_in(inner)} if get_args(hint) else {hint}
    if hasattr(hint, "__origin__"):
        found = {hint.__origin__} if hint.__origin__ in (list, dict) else found
        found |= {type(literal) for literal in get_args(hint)} if hint.__origin__ is Literal else set()
    found |= {str for part in found if isinstance(part, type) and issubclass(part, Enum)}
    return found | ({int} if float in found else set())


def test_every_default_has_its_type_and_is_in_its_range():
    for config in CONFIGS:
        defaults = {field.name: field.default for field in fields(config) if field.default is not MISSING}
        check_settings(config, defaults)


def test_every_range_is_that_of_a_setting():
    assert set(RANGES) <= {field.name for _, field in FIELDS} | {field.name for field in fields(RunSettings)}


@given(st.sampled_from(FIELDS), VALUES)
def test_a_value_is_refused_by_name_unless_it_has_a_type_of_its_setting(setting, value):
    config, field = setting
    hint = WIDER_HINTS.get(field.name, get_type_hints(config)[field.name])
    is_nan = isinstance(value, float) and math.isnan(value)
    if type(value) not in types_in(hint) or is_nan:
        with pytest.raises(ValueError, match=f"^`{field.name}` takes .* found ") as refusal:
            check_types(config, {field.name: value})
        assert len(str(refusal.value)) < 400
    elif isinstance(value, int | float | None) and (field.name, value) != ("trackio_static_space_id", True):
        check_types(config, {field.name: value})  # the words in a text or a list may be wrong


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (float, 1), (float, np.float32(1.5)), (float, np.int64(2)), (int, np.int32(3)), (bool, np.bool_(True)),
        (str, Path("runs")), (str | None, None), (IntervalStrategy | str, IntervalStrategy.NO),
        (IntervalStrategy | str, "steps"), (dict | str | None, '{"a": 1}'), (dict | str | None, {}),
        (dict | str | None, AcceleratorConfig()), (list[str] | None, ["a", "b"]), (list[float] | None, [1, 0.5]),
        (str | list[str] | None, "wandb"), (str | Literal[False] | None, False), (list[str] | None, ("a",)),
    ],
)  # fmt: skip
def test_what_libraries_take_passes(hint, value):
    check_type("setting", hint, value)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, 2.0, "`setting` takes an integer, found 2.0."),
        (int, np.float64(2.0), "`setting` takes an integer, found 2.0."),
        (int | None, "3", "`setting` takes an integer, found the text '3'. Leave out the quotes."),
        (str, False, "`setting` takes text, found false. YAML reads the words yes, no, on and off"),
        (
            list[str] | None,
            [1, "a"],
            "`setting` takes a list of texts, found a list: [1, 'a']. Put each item in quotes.",
        ),
        (list[str] | None, ["a, b"], "`setting` takes names without commas, found 'a, b'."),
        (bool, "no", "`setting` takes true or false, found the text 'no'."),
        (str | Literal[False] | None, True, "`setting` takes text or false, found true."),
    ],
)
def test_the_message_says_what_was_found_and_the_fix(hint, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_type("setting", hint, value)


@pytest.mark.parametrize("config", [PrefixGRPOConfig, DemonstrationSFTConfig])
def test_a_config_can_be_made_again_from_its_own_values(config, tmp_path):
    made = config(tmp_path, use_cpu=True, bf16=False, report_to="none", eval_strategy="steps", eval_steps=1)
    decided = {"generation_batch_size": None} if config is PrefixGRPOConfig else {}  # by TRL, from the other sizes
    replace(made, **decided)
    config(**made.to_dict() | decided)


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (DemonstrationSFTConfig, {"packing": "false"}, "`packing` takes true or false, found the text 'false'"),
        (DemonstrationSFTConfig, {"max_length": 0}, "`max_length` must be at least 1, found 0"),
        (DemonstrationSFTConfig, {"loss_type": "dr_grpo"}, "Unknown `loss_type`: 'dr_grpo'. Known: nll, dft"),
        (PrefixGRPOConfig, {"learning_rate": "1e-5"}, "`learning_rate` takes a number, found the text '1e-5'"),
    ],
)
def test_a_config_refuses_in_python_before_the_libraries_do(config, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, use_cpu=True, bf16=False, **settings)


@pytest.mark.parametrize(
    ("command", "code", "part"),
    [
        (["train", "--config", "recipe.yaml"], 2, "found the text 'hoch wie m\\xf6glich'"),
        (["recipes", "copy", "recipe.yaml", "copy.yaml"], 0, "copy.yaml"),
    ],
)
def test_text_is_utf_8_in_a_locale_that_is_not(command, code, part, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("instruction: Antworte präzise → 42\nlearning_rate: hoch wie möglich\n", encoding="utf-8")
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = [sys.executable, "-m", "prefix_rft_trl.cli.main", *command]
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == code, done.stderr
    assert part in done.stderr + done.stdout
