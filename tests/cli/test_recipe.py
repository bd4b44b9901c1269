from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.cli.launch.recipe import Stage, grouped, read_recipe, split_stages, trainer_of
from prefix_rft_trl.utils.errors import UserError


OF_ALL = {"trainer", "model_name_or_path", "output_dir", "learning_rate", "max_steps"}
KNOWN = {"sft": OF_ALL | {"packing"}, "prefix_grpo": OF_ALL | {"num_generations"}}
RECIPE = {
    "model_name_or_path": "base",
    "output_dir": "runs/both",
    "learning_rate": 1e-4,
    "num_generations": 8,
    "stages": {"first": {"trainer": "sft", "learning_rate": 1e-3}, "second": {"max_steps": 5}},
}


def knows(trainer: str, setting: str) -> bool:
    return setting in KNOWN[trainer]


def split(*flags: str, recipe: dict | None = None) -> list[Stage]:
    return split_stages(RECIPE if recipe is None else recipe, list(flags), knows)


def said(*flags: str, recipe: dict | None = None) -> str:
    with pytest.raises(UserError) as error:
        split(*flags, recipe=recipe)
    return str(error.value)


def test_a_shared_setting_goes_to_the_stages_that_know_it_and_a_stages_own_wins():
    first, second = split()
    assert (first.name, first.trainer, second.name, second.trainer) == ("first", "sft", "second", "prefix_grpo")
    assert first.settings == {
        "trainer": "sft",
        "learning_rate": 1e-3,
        "model_name_or_path": "base",
        "output_dir": "runs/both/first",
    }
    assert second.settings == {
        "max_steps": 5,
        "learning_rate": 1e-4,
        "num_generations": 8,
        "model_name_or_path": "runs/both/first",
        "output_dir": "runs/both",
    }


def test_the_recipe_itself_is_left_as_it_was():
    before = repr(RECIPE)
    split("--learning_rate", "1")
    assert repr(RECIPE) == before


def test_a_flag_goes_to_all_stages_that_know_it():
    first, second = split("--learning_rate", "1", "--num-generations=4", "--packing", "--max_steps", "2")
    assert first.flags == ["--learning_rate", "1", "--packing", "--max_steps", "2"]
    assert second.flags == ["--learning_rate", "1", "--num_generations", "4", "--max_steps", "2"]


def test_a_flag_that_names_its_stage_goes_there_alone():
    first, second = split("--max_steps", "2", "--second.max_steps", "3")
    assert first.flags == ["--max_steps", "2"]
    assert second.flags == ["--max_steps", "2", "--max_steps", "3"]  # the last one wins


def test_each_stage_starts_from_the_one_before_wherever_the_line_puts_them():
    recipe = {**RECIPE, "stages": {name: {"trainer": "sft"} for name in "abc"}, "num_generations": 8}
    del recipe["num_generations"]
    stages = split("--output_dir", "old", "--output_dir=new", "--model_name_or_path", "other", recipe=recipe)
    assert [stage.settings["output_dir"] for stage in stages] == ["new/a", "new/b", "new"]
    assert [stage.settings["model_name_or_path"] for stage in stages] == ["base", "new/a", "new/b"]
    assert [stage.flags for stage in stages] == [["--model_name_or_path", "other"], [], []]


def test_a_stages_own_model_and_folder_do_not_break_the_chain():
    own = {"trainer": "sft", "output_dir": "elsewhere"}
    first, second = split(recipe={**RECIPE, "stages": {"first": own, "second": {"model_name_or_path": "another"}}})
    assert first.settings["output_dir"] == second.settings["model_name_or_path"] == "runs/both/first"


def test_a_recipe_without_stages_is_one():
    stage = Stage("", {"learning_rate": 1}, ["--max_steps", "2"])
    assert split("--max_steps", "2", recipe={"learning_rate": 1}) == [stage]


def test_what_no_stage_knows_is_named():
    assert "'lerning_rate' in the recipe" in said(recipe={**RECIPE, "lerning_rate": 1})
    assert "'colour' in the command line" in said("--colour", "red")
    assert "'num_generations'" in said("--first.num_generations", "2")
    assert "'first'" in said("--first.num_generations", "2")


def test_a_stage_that_does_not_exist_lists_those_that_do():
    error = said("--frist.max_steps", "2")
    assert all(part in error for part in ("'frist'", "first, second", "Did you mean 'first'?"))


@pytest.mark.parametrize("stages", [[], {}, {"first": None}, ["first"], {"first": "sft"}])
def test_stages_that_are_no_mapping_are_refused(stages):
    assert "`stages`" in said(recipe={"stages": stages})


def test_words_that_belong_to_no_flag_are_refused():
    assert "'2'" in said("2", "--max_steps", "2")


@pytest.mark.parametrize("flag", [["--config", "{path}"], ["--config={path}"]])
def test_the_recipe_is_read_from_the_line_wherever_it_stands(tmp_path, flag):
    path = tmp_path / "recipe.yaml"
    path.write_text("trainer: sft\nmax_steps: 3\n")
    config = [part.format(path=path) for part in flag]
    for argv in ([*config, "--max_steps", "2"], ["--max_steps", "2", *config]):
        assert read_recipe(argv) == ({"trainer": "sft", "max_steps": 3}, ["--max_steps", "2"])
    assert trainer_of(config) == "sft"
    assert trainer_of([*config, "--trainer", "prefix_grpo"]) == "prefix_grpo"
    assert trainer_of(["--trainer=sft"]) == "sft"


def test_without_a_word_the_trainer_is_that_of_prefix_rft():
    assert trainer_of([]) == "prefix_grpo"


NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,8}", fullmatch=True)
VALUES = st.one_of(st.from_regex(r"-?[0-9.e]{1,5}", fullmatch=True), st.text(min_size=1, max_size=6)).filter(
    lambda value: not value.startswith("--")
)
GROUPS = st.lists(st.tuples(NAMES, st.lists(VALUES, max_size=3)), max_size=5)


@given(GROUPS)
def test_no_flag_and_no_value_is_lost_when_flags_are_told_apart(groups):
    assert grouped([part for name, values in groups for part in (f"--{name}", *values)]) == groups


@given(GROUPS, NAMES)
def test_taking_a_flag_away_leaves_the_others_as_they_were(groups, name):
    stage = Stage("", {}, [part for one, values in groups for part in (f"--{one}", *values)])
    taken = stage.pop_flag(name)
    assert taken == [value for one, values in groups if one == name for value in values]
    assert grouped(stage.flags) == [(one, values) for one, values in groups if one != name]


@given(st.lists(st.tuples(st.sampled_from(sorted(OF_ALL - {"output_dir", "model_name_or_path", "trainer"})), VALUES)))
def test_every_stage_gets_the_flags_that_it_knows_in_the_order_of_the_line(pairs):
    for stage in split(*(part for name, value in pairs for part in (f"--{name}", value))):
        assert grouped(stage.flags) == [(name, [value]) for name, value in pairs]


@pytest.mark.parametrize("trainer", ["sft", "prefix_grpo"])
def test_settings_switched_off_by_their_flag_are_known_to_the_stages(trainer):
    from prefix_rft_trl.cli.train import knows_setting

    for setting in (
        "no_gradient_checkpointing",
        "gradient_checkpointing",
        "num_processes",
        "env",
        "accelerate_config",
    ):
        assert knows_setting(trainer, setting), setting
    assert not knows_setting(trainer, "lerning_rate")
    assert knows_setting(trainer, "num_generations") == (trainer == "prefix_grpo")


def test_the_recipe_of_the_lab_with_two_stages_is_split_as_it_says():
    import yaml

    from prefix_rft_trl.cli.train import knows_setting

    lab = Path(__file__).parents[2] / "recipes" / "lab"
    recipe, sft, grpo = (
        yaml.safe_load((lab / f"{name}.yaml").read_text()) for name in ("sft_then_rft", "sft", "grpo")
    )
    first, second = split_stages(recipe, [], knows_setting)
    chained = {"model_name_or_path", "output_dir"}
    assert {k: v for k, v in first.settings.items() if k not in chained} == {
        k: v for k, v in sft.items() if k not in chained
    }
    assert {k: v for k, v in second.settings.items() if k not in chained} == {
        k: v for k, v in grpo.items() if k not in chained
    }
