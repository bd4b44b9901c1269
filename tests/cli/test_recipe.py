"""Recipes, their stages, and how often their files are read."""

import os
from unittest.mock import Mock

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.cli.launch import training_script
from prefix_rft_trl.cli.launch.arguments import is_setting
from prefix_rft_trl.cli.launch.recipe import Recipe, grouped
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.utils.errors import UserError
from prefix_rft_trl.utils.recipe_files import FOLDER


SHARED = {"trainer", "model_name_or_path", "output_dir", "learning_rate", "max_steps"}
SETTINGS = {"sft": SHARED | {"packing"}, "prefix_grpo": SHARED | {"num_generations"}}
TWO_STAGES = {
    "model_name_or_path": "base",
    "output_dir": "runs/both",
    "learning_rate": 1e-4,
    "num_generations": 8,
    "stages": {"first": {"trainer": "sft", "learning_rate": 1e-3}, "second": {"max_steps": 5}},
}


def split(*flags: str, recipe: dict = TWO_STAGES) -> list[Recipe]:
    return Recipe(recipe, list(flags)).trainings(lambda trainer, name: name in SETTINGS[trainer])


def joined(groups: list[tuple[str, list[str]]]) -> list[str]:
    return [part for name, values in groups for part in (f"--{name}", *values)]


def test_stages_get_the_shared_settings_of_their_trainer_unless_they_have_their_own():
    before = repr(TWO_STAGES)
    first, second = split("--learning_rate", "1")
    assert (first.stage, first.trainer, second.stage, second.trainer) == ("first", "sft", "second", "prefix_grpo")
    own, chained = {"trainer": "sft", "learning_rate": 1e-3}, {"model_name_or_path": "base"}
    assert first.settings == {**own, **chained, "output_dir": "runs/both/first"}
    own, chained = {"max_steps": 5}, {"model_name_or_path": "runs/both/first", "output_dir": "runs/both"}
    assert second.settings == {**own, **chained, "learning_rate": 1e-4, "num_generations": 8}
    assert repr(TWO_STAGES) == before


@pytest.mark.parametrize(
    ("flags", "packed"), [([], ["one"]), (["--one.trainer", "prefix_grpo", "--two.trainer", "sft"], ["two"])]
)
def test_the_trainer_decides_which_shared_settings_a_stage_has(flags, packed):
    recipe = {"packing": True, "trainer": "sft", "stages": {"one": {}, "two": {"trainer": "prefix_grpo"}}}
    assert [stage.stage for stage in split(*flags, recipe=recipe) if "packing" in stage.settings] == packed


def test_a_flag_goes_to_the_stages_that_have_it_or_to_the_one_that_it_names():
    first, second = split("--learning_rate", "1", "--num-generations=4", "--packing", "--max_steps", "2")
    assert first.flags == ["--learning_rate", "1", "--packing", "--max_steps", "2"]
    assert second.flags == ["--learning_rate", "1", "--num_generations", "4", "--max_steps", "2"]
    first, second = split("--max_steps", "2", "--second.max_steps", "3")
    assert first.flags == ["--max_steps", "2"]
    assert second.flags == ["--max_steps", "2", "--max_steps", "3"]  # the last one wins


def test_each_stage_starts_from_the_one_before_whatever_its_own_settings_say():
    own = {"trainer": "sft", "model_name_or_path": "another"}
    recipe = {"model_name_or_path": "base", "stages": {"a": {"trainer": "sft"}, "b": own, "c": own}}
    stages = split("--output_dir", "old", "--output_dir=new", "--model_name_or_path", "other", recipe=recipe)
    assert [stage.settings["output_dir"] for stage in stages] == ["new/a", "new/b", "new"]
    assert [stage.settings["model_name_or_path"] for stage in stages] == ["base", "new/a", "new/b"]
    assert [stage.flags for stage in stages] == [["--model_name_or_path", "other"], [], []]


def test_a_recipe_without_stages_is_one_training():
    assert split("--max_steps", "2", recipe={"a": 1}) == [Recipe({"a": 1}, ["--max_steps", "2"])]


@pytest.mark.parametrize(
    ("flags", "changes", "parts"),
    [
        ([], {"lerning_rate": 1}, ["'lerning_rate' in the recipe"]),
        (["--colour", "red"], {}, ["'colour' in the command line"]),
        (["--first.num_generations", "2"], {}, ["'num_generations'", "'first'"]),
        (["--frist.max_steps", "2"], {}, ["'frist'", "first, second", "Did you mean 'first'?"]),
        (["2", "--max_steps", "2"], {}, ["'2'"]),
        *[([], {"stages": stages}, ["`stages`"]) for stages in ([], {}, {"first": None}, ["first"], {"first": "sft"})],
    ],
)
def test_what_no_stage_has_is_named(flags, changes, parts):
    with pytest.raises(UserError) as error:
        split(*flags, recipe={**TWO_STAGES, **changes})
    assert all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize("flag", [["--config", "{path}"], ["--config={path}"]])
def test_a_recipe_is_read_from_any_place_in_the_command_line(tmp_path, flag):
    path = tmp_path / "recipe.yaml"
    path.write_text("trainer: sft\nmax_steps: 3\n")
    config = [part.format(path=path) for part in flag]
    expected = Recipe({"trainer": "sft", "max_steps": 3}, ["--max_steps", "2"], path)
    for argv in ([*config, "--max_steps", "2"], ["--max_steps", "2", *config]):
        assert Recipe.read(argv) == expected
    assert Recipe.read(expected.command_line) == expected


@pytest.mark.parametrize(
    ("flags", "settings", "trainer"),
    [
        ([], {}, "prefix_grpo"),
        ([], {"trainer": "sft"}, "sft"),
        (["--trainer=sft"], {}, "sft"),
        (["--trainer", "prefix_grpo"], {"trainer": "sft"}, "prefix_grpo"),
    ],
)
def test_the_trainer_of_a_flag_wins(flags, settings, trainer):
    assert Recipe(settings, flags).trainer == trainer


NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)
VALUES = st.one_of(st.from_regex(r"-?[0-9.e]{1,5}", fullmatch=True), st.text(min_size=1, max_size=6)).filter(
    lambda value: not value.startswith("--")
)
GROUPS = st.lists(st.tuples(NAMES, st.lists(VALUES, max_size=3)), max_size=5)


@given(GROUPS, NAMES)
def test_no_flag_and_no_value_is_lost(groups, name):
    assert grouped(joined(groups)) == groups
    recipe = Recipe({}, joined(groups))
    assert recipe.flag_values(name) == [value for one, values in groups if one == name for value in values]
    assert grouped(recipe.without_flags(name).flags) == [(one, values) for one, values in groups if one != name]


@given(st.lists(st.tuples(st.sampled_from(["learning_rate", "max_steps"]), VALUES)))
def test_every_stage_gets_its_flags_in_the_order_of_the_command_line(pairs):
    for stage in split(*joined([(name, [value]) for name, value in pairs])):
        assert grouped(stage.flags) == [(name, [value]) for name, value in pairs]


def test_the_lab_recipe_of_two_stages_trains_like_the_recipes_of_one():
    chained = {"model_name_or_path", "output_dir"}
    stages = Recipe.read(["--config", "lab/sft_then_rft"]).trainings(is_setting)
    for stage, name in zip(stages, ("sft", "grpo"), strict=True):
        alone = yaml.safe_load((FOLDER / "lab" / f"{name}.yaml").read_text())
        found, expected = ({k: v for k, v in one.items() if k not in chained} for one in (stage.settings, alone))
        assert found == expected


@pytest.mark.parametrize("trainer", ["sft", "prefix_grpo"])
def test_settings_switched_off_by_their_flag_are_known_to_the_stages(trainer):
    for name in ("no_gradient_checkpointing", "gradient_checkpointing", "num_processes", "env", "accelerate_config"):
        assert is_setting(trainer, name), name
    assert not is_setting(trainer, "lerning_rate")
    assert is_setting(trainer, "num_generations") == (trainer == "prefix_grpo")


def test_the_environment_of_a_recipe_is_set_before_its_settings_are_made(monkeypatch):
    monkeypatch.setenv("OF_THE_RECIPE", "before")
    Recipe({"env": {"OF_THE_RECIPE": 1}, "use_cpu": True, "bf16": False}).parse()
    assert os.environ["OF_THE_RECIPE"] == "1"
    with pytest.raises(UserError, match="`env` is a mapping"):
        Recipe({"env": ["OF_THE_RECIPE"]}).parse()


@pytest.mark.parametrize(("recipe", "trainer"), [("lab/prefix_rft", "prefix_grpo"), ("lab/sft_then_rft", "sft")])
def test_a_recipe_is_read_once_by_each_process(recipe, trainer, tmp_path, monkeypatch):
    read, launch, make = Mock(wraps=yaml.safe_load), Mock(return_value=7), Mock(side_effect=UserError("not made"))
    monkeypatch.setattr(yaml, "safe_load", read)
    monkeypatch.setattr("prefix_rft_trl.cli.train.launch", launch)
    monkeypatch.setattr(training_script, "make_trainer", make)
    line = ["train", "--config", recipe, "--output_dir", str(tmp_path)]
    assert main(line) == 2
    assert (read.call_count, make.call_count) == (1, 1)

    assert main([*line, "--num_processes", "2"]) == 7
    assert (read.call_count, make.call_count) == (2, 1)
    launcher_flags, script_line = launch.call_args.args
    assert launcher_flags == ["--num_processes", "2"]
    assert training_script.main(script_line) == 2
    assert (read.call_count, make.call_count) == (3, 2)
    assert [call.args[0].trainer for call in make.call_args_list] == [trainer] * 2
