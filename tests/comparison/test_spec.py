from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.cli.launch.inheritance import read_with_bases
from prefix_rft_trl.comparison.jobs import jobs_for
from prefix_rft_trl.comparison.spec import Specification, read_specification
from prefix_rft_trl.comparison.trials import Trial


LAB = Path(__file__).parents[2] / "recipes" / "lab"
RECIPES = {
    "sft": {"trainer": "sft", "max_steps": 6, "seed": 7, "output_dir": "a"},
    "grpo": {"max_steps": 10, "learning_rate": 1e-4},
    "both": {
        "learning_rate": 2e-4,
        "stages": {"sft": {"trainer": "sft", "max_steps": 6, "learning_rate": 1e-3}, "rft": {"max_steps": 10}},
    },
}


def read(contents: dict | None = None, seeds: int = 3, extra: dict | None = None, recipes: dict | None = None):
    recipes = RECIPES if recipes is None else recipes
    loaded = {Path(f"{name}.yaml"): recipe for name, recipe in recipes.items()}
    return read_specification(loaded, contents or {}, seeds, extra or {})


def table(rows, **others) -> dict:
    return {"tables": [{"title": "Further", "rows": rows, **others}]}


def test_without_a_specification_all_recipes_make_one_table():
    found = read()
    assert [(one.title, one.columns) for one in found.tables] == [("Methods", [])]
    assert [(label, [trial.path.stem for trial in row]) for label, row in found.tables[0].rows] == [
        ("sft", ["sft"]),
        ("grpo", ["grpo"]),
        ("both", ["both"]),
    ]
    assert {row[0].seeds for _, row in found.tables[0].rows} == {3}


def test_the_specification_gives_titles_order_labels_and_the_threshold():
    found = read({"title": "T", "threshold": 0.7, "note": "N", "recipes": ["grpo", "sft"], "labels": {"sft": "SFT"}})
    assert (found.title, found.threshold, found.tables[0].note) == ("T", 0.7, "N")
    assert [label for label, _ in found.tables[0].rows] == ["grpo", "SFT"]


def test_a_cell_is_a_recipe_with_the_overrides_of_its_row_and_its_column():
    contents = table(
        {"one": {"recipe": "grpo", "temperature": 0.5}, "two": "sft"},
        columns={"plain": {}, "longer": {"max_steps": 20, "save_steps": [1, 2]}},
    )
    further = read(contents).tables[1]
    assert further.columns == ["plain", "longer"]
    cells = {label: [trial.settings for trial in row] for label, row in further.rows}
    assert cells["one"] == [
        {"max_steps": 10, "learning_rate": 1e-4, "temperature": 0.5},
        {"max_steps": 20, "learning_rate": 1e-4, "temperature": 0.5, "save_steps": [1, 2]},
    ]
    assert cells["two"][0] == {"trainer": "sft", "max_steps": 6}
    flags = dict(further.rows)["one"][1].flags()
    assert flags == ["--temperature", "0.5", "--max_steps", "20", "--save_steps", "1", "2"]


def test_the_parser_can_read_flags_of_booleans_and_mappings():
    trial = read(extra={"use_peft": True, "model_init_kwargs": {"a": None}}).tables[0].rows[0][1][0]
    assert trial.flags() == ["--use_peft", "true", "--model_init_kwargs", '{"a": null}']


def test_flags_of_the_command_line_override_the_tables():
    trials = dict(read(table(["grpo"], columns={"a": {"max_steps": 20}}), extra={"max_steps": 2}).tables[1].rows)
    assert trials["grpo"][0].settings["max_steps"] == 2


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ({"rft.max_steps": 3}, {"rft.max_steps": 3}),
        ({"sft.learning_rate": 5e-4}, {"sft.learning_rate": 5e-4}),
        ({"max_steps": 3}, {"sft.max_steps": 3, "rft.max_steps": 3}),
        ({"learning_rate": 5e-4}, {"sft.learning_rate": 5e-4, "learning_rate": 5e-4}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
    ],
)
def test_an_override_without_a_stage_holds_for_all_stages(overrides, changed):
    before = read().tables[0].rows[2][1][0].settings
    after = read(table({"row": {"recipe": "both", **overrides}})).tables[1].rows[0][1][0].settings
    assert after == before | changed


def test_a_flag_goes_to_the_recipes_that_take_it():
    def takes(path: Path, name: str) -> bool:
        return name == "max_steps" or (name == "temperature" and path.stem != "sft")

    recipes = {Path(f"{name}.yaml"): {"max_steps": 9} for name in ("sft", "grpo")}
    flags = {"max_steps": 1, "temperature": 0.5, "temprature": 2}
    rows = dict(read_specification(recipes, {}, 1, flags, takes).tables[0].rows)
    assert rows["sft"][0].overrides == {"max_steps": 1, "temprature": 2}, "what nobody takes is refused by all"
    assert rows["grpo"][0].overrides == flags


def test_a_stage_without_settings_of_its_own_is_a_stage():
    recipes = {"both": {"learning_rate": 1e-4, "stages": {"sft": {"trainer": "sft"}, "rft": {}}}}
    contents = table({"row": {"recipe": "both", "rft.learning_rate": 3e-4}})
    trial = read(contents, recipes=recipes).tables[1].rows[0][1][0]
    assert trial.stages == ("sft", "rft")
    assert trial.settings["rft.learning_rate"] == 3e-4


def test_the_same_settings_are_one_trial_whatever_the_table_the_output_folder_or_the_seed():
    changed = {**RECIPES, "sft": {**RECIPES["sft"], "seed": 1, "output_dir": "b"}}
    assert read().trials[0].name == read(recipes=changed).trials[0].name
    contents = table(
        ["grpo"],
        seeds=5,
        columns={"unchanged": {}, "text": {"learning_rate": "1e-4"}, "2e-4": {"learning_rate": 2e-4}},
    )
    first, further = read(contents).tables
    grpo = dict(first.rows)["grpo"][0]
    unchanged, as_text, other = further.rows[0][1]
    assert grpo.name == unchanged.name == as_text.name != other.name
    folders = [str(job.folder) for job in jobs_for([grpo, unchanged, as_text], Path("runs"))]
    assert folders == [f"runs/{grpo.name}/seed-{seed}" for seed in range(3)]


@pytest.mark.parametrize(("seeds", "expected"), [(1, 1), (2, 2), (5, 2)])
def test_a_table_has_at_most_its_own_seeds(seeds, expected):
    found = read(table(["sft"], seeds=2, columns={"a": {"max_steps": 9}}), seeds=seeds)
    assert found.tables[1].rows[0][1][0].seeds == expected
    assert found.tables[0].rows[0][1][0].seeds == seeds


def test_the_first_seeds_of_all_trials_come_before_the_second_ones():
    found = read(table(["sft"], seeds=1, columns={"a": {"max_steps": 9}}), seeds=2)
    found_jobs = jobs_for(found.trials, Path("r"))
    jobs = [(job.trial.path.stem, job.trial.settings.get("max_steps"), job.seed) for job in found_jobs]
    first = [("sft", 6), ("grpo", 10), ("both", None), ("sft", 9)]
    assert jobs == [(*trial, 0) for trial in first] + [(*trial, 1) for trial in first[:3]]


@pytest.mark.parametrize(
    ("contents", "parts"),
    [
        ({"recpies": ["sft"]}, ["comparison.yaml", "'recpies'", "recipes"]),
        ({"recipes": ["sftt"]}, ["'Methods'", "'sftt'", "sft, grpo, both"]),
        ({"tables": ["sft"]}, ["comparison.yaml, tables", "'sft'"]),
        (table(["sftt"]), ["'Further'", "'sftt'"]),
        (table([]), ["'Further'", "no rows"]),
        (table(["sft"], colums={}), ["'Further'", "'colums'"]),
        (table(["sft"], seeds=0), ["'Further'", "seeds", "0"]),
        (table([{"recipe": "sft"}]), ["'Further'", "rows"]),
        (table({"A row": {"max_steps": 3}}), ["'Further'", "'A row'", "recipe"]),
        (table({"A row": None}), ["'Further'", "'A row'", "recipe"]),
        (table({"A row": {"recipe": "both", "sgt.max_steps": 3}}), ["'Further'", "'A row'", "'sgt'"]),
        (table({"A row": {"recipe": "sft", "sft.max_steps": 3}}), ["'Further'", "'A row'", "no stage 'sft'"]),
        (table({"A row": {"recipe": "sft", "max_steps": None}}), ["'Further'", "'A row'", "'max_steps'"]),
        (table(["sft"], columns=["a"]), ["'Further'", "columns"]),
        (table(["sft"], columns={"a": 3}), ["'Further'", "'sft'", "'a'", "3"]),
    ],
)  # fmt: skip
def test_an_error_names_its_table_and_row(contents, parts):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (its text is compared below)
        read(contents)
    assert all(part in str(error.value) for part in parts), error.value


@pytest.mark.parametrize("stages", [["sft"], {"sft": None}])
def test_an_error_in_the_stages_names_the_recipe(stages):
    with pytest.raises(ValueError, match=r"odd\.yaml.*stages"):
        read(recipes={"odd": {"stages": stages}})


@pytest.fixture(scope="module")
def lab() -> Specification:
    contents = yaml.safe_load((LAB / "comparison.yaml").read_text())
    recipes = {path: read_with_bases(path)[0] for path in LAB.glob("*.yaml") if path.stem != "comparison"}
    return read_specification(recipes, contents, 5, {})


def rows_of(found: Specification, title: str) -> list[list[Trial]]:
    return [row for one in found.tables if one.title.startswith(title) for _, row in one.rows]


def test_the_labs_tables_have_the_shares_of_their_titles_with_three_seeds(lab):
    for title, setting, shares in (
        ("Quality", "lab_corrupted_share", [0.0, 0.3, 0.6]),
        ("Quantity", "lab_demonstrated_share", [1.0, 0.1, 0.01]),
    ):
        rows = rows_of(lab, title)
        assert [[trial.settings.get(setting, shares[0]) for trial in row] for row in rows] == [shares] * 4
        assert all(trial.seeds >= 3 for row in rows for trial in row)


def test_the_lab_tries_as_many_learning_rates_for_each_method(lab):
    swept = rows_of(lab, "Learning rate")
    methods = {row[0].path.stem for _, row in lab.tables[0].rows}
    assert methods == {path.stem for path in LAB.glob("*.yaml")} - {"comparison"}
    assert {row[0].path.stem for row in swept} == methods
    assert all(len(row) == len({trial.name for trial in row}) == 3 for row in swept)
    assert len({trial.seeds for row in swept for trial in row}) == 1


def test_the_lab_tries_as_many_coefficients_for_each_method_of_another_paper_that_has_one(lab):
    given = {row[0].path.stem for _, row in lab.tables[0].rows if "prefix_loss_coef" in row[0].settings}
    elsewhere = {"rl_with_sft_loss", "uft", "relift"}  # four for the baselines; ReLIFT's is SuperRL's
    swept = [*rows_of(lab, "Coefficients"), *rows_of(lab, "Share of SFT")]
    assert {row[0].path.stem for row in swept} == given - elsewhere
    assert all(len(row) == len({trial.name for trial in row}) == 3 for row in swept)


def test_the_lab_takes_little_more_than_an_hour_on_two_cores(lab):
    runs = {(trial.name, seed) for trial in lab.trials for seed in range(trial.seeds)}
    assert len(runs) < 320  # of some 25 s each


def test_the_lab_compares_every_recipe_and_each_ablation_is_a_trial_of_its_own(lab):
    methods = [row[0] for _, row in lab.tables[0].rows]
    assert {trial.path for trial in methods} == {path for path in LAB.glob("*.yaml") if path.stem != "comparison"}
    assert all(trial.seeds == 5 for trial in methods)
    names = [row[0].name for row in rows_of(lab, "Ablations")]
    assert len(set(names)) == len(names) >= 12
    assert names[0] == dict(lab.tables[0].rows)["Prefix-RFT"][0].name
