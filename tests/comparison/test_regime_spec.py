import copy
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.comparison.spec import Specification, read_specification


LAB_MAP = Path(__file__).parents[2] / "recipes" / "lab-map"
RECIPES = {
    "sft": {"trainer": "sft", "max_steps": 6},
    "grpo": {"max_steps": 10},
    "both": {"stages": {"sft": {"trainer": "sft", "max_steps": 6}, "rft": {"max_steps": 10}}},
}
MAP = {
    "axes": {
        "style": {"title": "Style", "levels": {"worked": {}, "brief": {"lab_style": "brief"}}},
        "budget": {
            "levels": {
                "10 steps": {},
                "5 steps": {"max_steps": 5, "except": {"both": {"rft.max_steps": 5}}},
                "20 steps": {"max_steps": 20, "except": {"both": {"rft.max_steps": 20}}},
            }
        },
    },
    "ignores": {"grpo": ["style"], "sft": ["budget"]},
    "planes": [{"style": "all", "budget": ["10 steps", "5 steps"]}],
    "claims": [{"above": "both", "below": "grpo", "where": {"style": "brief"}}],
}


def read(changed: dict | None = None, cell: str | None = None, **others) -> Specification:
    loaded = {Path(f"{name}.yaml"): recipe for name, recipe in RECIPES.items()}
    return read_specification(loaded, {"map": MAP if changed is None else changed, **others}, 2, {}, cell=cell)


def test_a_cell_has_the_settings_of_its_levels_but_for_recipes_that_differ_or_ignore_an_axis():
    found = read(labels={"both": "SFT then RFT"}).map
    assert found is not None
    assert set(found.cells) == {(style, steps) for style in ("worked", "brief") for steps in ("10 steps", "5 steps")}
    overrides = {
        label: trial.overrides for label, trial in found.cell({"style": "brief", "budget": "5 steps"}).items()
    }
    assert overrides == {
        "sft": {"lab_style": "brief"},
        "grpo": {"max_steps": 5},
        "SFT then RFT": {"lab_style": "brief", "rft.max_steps": 5},
    }
    assert {trial.seeds for trial in found.outcomes} == {2}


def test_runs_that_an_axis_does_not_change_are_shared():
    specification = read()
    names = {trial.name for trial in specification.trials}
    assert len(specification.trials) == 12
    assert len(names) == 2 + 2 + 4
    assert len(specification.groups) == 4, "each cell is compared for itself"


def test_the_first_levels_are_the_recipes_themselves():
    alone = read_specification({Path(f"{name}.yaml"): own for name, own in RECIPES.items()}, {}, 1, {})
    first = read().map.cell({})
    assert {trial.name for trial in first.values()} == {trial.name for trial in alone.trials}


def test_a_map_takes_the_place_of_the_first_table():
    assert read().tables == []
    tables = [{"title": "Further", "rows": ["sft"]}]
    assert [table.title for table in read(tables=tables).tables] == ["Further"]


def test_one_cell_is_a_table_with_curves_also_outside_of_all_planes():
    found = read(cell="style=brief, budget=20 steps")
    assert found.map is None
    (table,) = found.tables
    assert table.columns == []
    assert "style=brief, budget=20 steps" in table.title
    assert [row[0].overrides for _, row in table.rows] == [
        {"lab_style": "brief"},
        {"max_steps": 20},
        {"lab_style": "brief", "rft.max_steps": 20},
    ]


def changed(*path, to) -> dict:
    contents = copy.deepcopy(MAP)
    *parents, last = path
    inner = contents
    for key in parents:
        inner = inner[key]
    inner[last] = to
    return contents


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({}, ["no axes"]),
        (changed("axis", to={}), ["unknown key 'axis'", "axes"]),
        (
            changed("axes", "style", "levels", "brief", to="brief"),
            ["axis 'style', level 'brief'", "settings", "'brief'"],
        ),
        (changed("axes", "style", "levels", "brief", to=None), ["axis 'style', level 'brief'", "settings", "None"]),
        (changed("axes", "style", "levels", to={"worked": {}}), ["axis 'style'", "at least two levels, found 1"]),
        (
            changed("axes", "style", "levels", "worked", to={"a": 1}),
            ["first level, 'worked'", "{'a': 1}", "`worked: {}`"],
        ),
        (changed("axes", "style", "levels", "a,b", to={"a": 1}), ["'a,b'", "--cell", "Rename"]),
        (changed("axes", "style", "levels", "long", to={"max_steps": 9}), ["'style' and 'budget'", "`max_steps`"]),
        (
            changed("axes", "style", "levels", "long", to={"except": {"both": {"sft.max_steps": 9}}}),
            ["'style' and 'budget'", "`sft.max_steps` and `max_steps`"],
        ),
        (
            changed("axes", "style", "levels", "brief", to={"except": {"dpo": {}}}),
            ["brief", "no recipe 'dpo'", "grpo"],
        ),
        (changed("ignores", "grop", to=["style"]), ["ignores", "no recipe 'grop'", "Did you mean 'grpo'"]),
        (changed("ignores", "grpo", to=["styl"]), ["ignores, grpo", "no axis 'styl'", "Did you mean 'style'"]),
        (changed("ignores", "grpo", to="style"), ["ignores, grpo", "list of axes"]),
        (changed("planes", to=[]), ["no planes", "style: all"]),
        (changed("planes", to=[{"style": "all"}]), ["plane 1", "two axes", "style: all, budget: all"]),
        (changed("planes", to=[["style", "budget"]]), ["plane 1", "mapping"]),
        (changed("planes", to=[{"style": "all", "size": "all"}]), ["plane 1", "no axis 'size'", "style, budget"]),
        (changed("planes", to=[{"style": "all", "budget": "5 steps"}]), ["plane 1, budget", "`all` or a list"]),
        (
            changed("planes", to=[{"style": ["breif"], "budget": "all"}]),
            ["plane 1", "'breif'", "Did you mean 'brief'"],
        ),
        (changed("claims", to=[{"above": "dpo", "below": "sft"}]), ["claim 1, `above`", "no recipe 'dpo'"]),
        (changed("claims", to=[{"above": "sft"}]), ["claim 1, `below`", "no recipe None"]),
        (changed("claims", 0, "where", to={"style": "short"}), ["claim 1", "'style' has no level 'short'", "brief"]),
        (changed("claims", 0, "where", to={"budget": "20 steps"}), ["claim 1", "no plane", "budget=20 steps"]),
    ],
)
def test_what_is_wrong_in_a_map_is_named_with_its_place_and_the_fix(contents, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read(contents)
    assert str(error.value).startswith("comparison.yaml, map")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("brief", "expected AXIS=LEVEL, such as `style=brief`, found 'brief'"),
        ("", "expected AXIS=LEVEL"),
        ("size=big", "no axis 'size'"),
        ("style=brief, style=worked", "one level of each axis, found 'style=brief, style=worked'"),
        ("style=short", "no level 'short'. Known: worked, brief"),
    ],
)
def test_a_cell_that_is_not_there_is_refused(cell, words):
    with pytest.raises(ValueError, match=r"^--cell") as error:
        read(cell=cell)
    assert words in str(error.value)


def test_a_cell_is_the_same_in_whatever_order_and_with_the_first_levels_or_without():
    cells = ["style=brief,budget=5 steps", "budget=5 steps, style=brief"]
    assert [read(cell=cell).cell for cell in cells] == [{"style": "brief", "budget": "5 steps"}] * 2
    assert read(cell="style=brief,budget=10 steps") == read(cell="style=brief")


def test_settings_of_two_stages_are_two_settings():
    changes = changed("axes", "budget", "levels", to={"a": {}, "b": {"except": {"both": {"rft.learning_rate": 1}}}})
    changes["axes"]["style"]["levels"]["fast"] = {"except": {"both": {"sft.learning_rate": 1}}}
    changes["planes"] = [{"style": "all", "budget": "all"}]
    assert read(changes).map is not None


def test_a_cell_needs_a_map():
    loaded = {Path("sft.yaml"): RECIPES["sft"]}
    with pytest.raises(ValueError, match="there is no `map:`"):
        read_specification(loaded, {}, 1, {}, cell="style=brief")


def test_two_methods_with_one_label_are_refused():
    with pytest.raises(ValueError, match="two recipes have one label"):
        read(labels={"sft": "X", "grpo": "X"})


def test_the_labs_map_shares_the_runs_of_sft_and_rft():
    contents = yaml.safe_load((LAB_MAP / "comparison.yaml").read_text())
    recipes = {path: read_with_bases(path)[0] for name in contents["recipes"] for path in [LAB_MAP / f"{name}.yaml"]}
    found = read_specification(recipes, contents, 3, {}).map
    assert len(found.cells) == 15
    demonstrated = [found.cell({"demonstrations": level})["RFT"].name for level in found.axes[1].levels]
    assert len(set(demonstrated)) == 1
    sft = [found.cell({"budget": level})["SFT"].name for level in found.axes[-1].levels]
    assert len(set(sft)) == 1
    for level in found.axes[-1].levels:
        settings = found.cell({"budget": level})["UFT"].settings
        assert settings["prefix_ratio_decay_steps"] == 0.6 * settings["max_steps"]
    never = found.cell({"success": "never"})
    assert never["SFT"].name == found.cell({})["SFT"].name
    assert never["SFT then RFT"].overrides["rft.reward_weights"] == [0.0, 1.0]
