"""The advised recipe: what it changes, and that a run takes it."""

from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefix_rft_trl.advice.advice_rules import ADVISED, LABELS, Advice, Decision
from prefix_rft_trl.advice.advised_changes import SettingChange
from prefix_rft_trl.advice.advised_recipe import advised_recipe, method_changes
from prefix_rft_trl.advice.method_settings import DEFAULTS, OF_ROLLOUTS, settings_for
from prefix_rft_trl.cli.launch.arguments import is_setting
from prefix_rft_trl.cli.launch.recipe import Recipe, load_recipe
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.config import PrefixGRPOConfig
from prefix_rft_trl.utils.recipe_files import FOLDER


HIGH = SettingChange("prefix_ratio_high", 0.75, "Longer ones are not followed.")
STEPS = SettingChange("sft.max_steps", 60, "More passes are too many.")
LAB = FOLDER / "lab"


def advice_for(method: str | None, *changes: SettingChange) -> Advice:
    return Advice(Decision(ADVISED, "It fits: 0.20. More follows.", method), "", changes)


@pytest.fixture
def advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes the advised recipe for a given one."""
    monkeypatch.chdir(tmp_path)

    def write(given: Path, method: str | None, *changes: SettingChange, **flags: Any) -> Path:
        output = tmp_path / "advised.yaml"
        text = advised_recipe(given, load_recipe(given), advice_for(method, *changes), output, flags)
        output.write_text(text, encoding="utf-8")
        return output

    return write


def trainings(path: Path) -> list[Recipe]:
    return Recipe.read(["--config", str(path)]).trainings(is_setting)


def parsed(recipe: Recipe) -> dict[str, Any]:
    """All settings of the trainer, as a run has them."""
    return vars(recipe.parse()[1])


def checked(settings: dict[str, Any]) -> PrefixGRPOConfig:
    """A config that has passed its checks, but not the slow rest of TRL's."""
    config = object.__new__(PrefixGRPOConfig)
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(PrefixGRPOConfig)
    }
    vars(config).update(defaults | {name: value for name, value in settings.items() if name in defaults})
    config.check()
    return config


def stages_with(given: dict[str, Any], changes: dict[str, Any]) -> list[dict[str, Any]]:
    together = {**given, **changes}
    shared = {name: value for name, value in together.items() if name != "stages"}
    return [{**shared, **own} for own in together.get("stages", {"": {}}).values()]


@pytest.mark.parametrize("given", LABELS)
def test_every_method_can_be_made_of_every_recipe(given):
    """With the settings of its own recipe, but for the rows of a group, which are the given recipe's."""
    recipe = load_recipe(LAB / f"{given}.yaml")
    for method in LABELS:
        changes = method_changes(method, recipe)
        assert (changes == {}) == (given == method)
        stages = stages_with(recipe, changes)
        of_rollouts = ["sft_then_rft", *OF_ROLLOUTS]
        kinds = ["sft"] * (method in ("sft", "sft_then_rft")) + ["prefix_grpo"] * (method in of_rollouts)
        assert [stage.get("trainer", "prefix_grpo") for stage in stages] == kinds
        if method in of_rollouts:
            found = checked(stages[-1])
            own = checked(stages_with(load_recipe(LAB / f"{method}.yaml"), {})[-1])
            if method == "uft":  # whose hints end after as large a part of its run
                own.prefix_ratio_decay_steps = round(0.6 * found.max_steps)
            differing = {name for name in DEFAULTS if getattr(found, name) != getattr(own, name)}
            if method in ("grpo", "sft_then_rft"):  # have no prefixes: what is said of them stays
                assert (found.num_prefix_generations, found.prefix_stage_ratios or None) == (0, None), method
            else:
                assert differing <= {"num_prefix_generations", "prefix_top_entropy_quantile"}, method
                assert found.prefix_token_rule == own.prefix_token_rule, method
            assert (found.num_prefix_generations == found.num_generations) == (method in ("pope", "uft"))
            assert found.per_device_train_batch_size % found.num_generations == 0


@pytest.mark.parametrize("given", OF_ROLLOUTS)
def test_a_recipe_without_prefixes_keeps_what_is_said_of_them(given):
    recipe = load_recipe(LAB / f"{given}.yaml")
    changes = settings_for("grpo", recipe)
    assert {name.startswith("prefix_loss") or name == "prefix_top_entropy_quantile" for name in changes} <= {False}
    assert checked(recipe | changes).num_prefix_generations == 0


@pytest.mark.parametrize("method", LABELS)
def test_a_run_takes_it(method, advised, capsys):
    path = advised(
        LAB / "prefix_rft.yaml", method, *([STEPS] if method == "sft_then_rft" else [HIGH][: method == "uft"])
    )
    assert main(["train", "--config", str(path), "--dry_run"]) == 0, capsys.readouterr().err


def test_only_advised_settings_differ(advised):
    before = parsed(trainings(LAB / "prefix_rft.yaml")[0])
    path = advised(LAB / "prefix_rft.yaml", "prefix_rft", HIGH)
    after = parsed(trainings(path)[0])
    assert {name for name in before if before[name] != after[name]} - {"distributed_state"} == {"prefix_ratio_high"}
    assert yaml.safe_load(path.read_text()) == {"base": "lab/prefix_rft", "prefix_ratio_high": 0.75}
    assert "# Longer ones are not followed.\nprefix_ratio_high: 0.75\n" in path.read_text()


def test_own_recipe_is_the_base_by_its_path_from_there(tmp_path, advised):
    folder = tmp_path / "given"
    folder.mkdir()
    given = folder / "mine.yaml"
    given.write_text((LAB / "prefix_rft.yaml").read_text() + "\nprefix_success_reward: 0.5\n")
    path = advised(given, "prefix_rft", HIGH)
    assert yaml.safe_load(path.read_text())["base"] == "given/mine.yaml"
    assert parsed(trainings(path)[0])["prefix_success_reward"] == 0.5


def test_tuned_settings_of_the_same_method_stay(tmp_path, advised):
    given = tmp_path / "mine.yaml"
    own = {"prefix_ratio_schedule": "adaptive", "prefix_ratio_low": 0.2, "num_prefix_generations": 2}
    given.write_text(yaml.safe_dump({**load_recipe(LAB / "prefix_rft.yaml"), **own}))
    assert yaml.safe_load(advised(given, "prefix_rft").read_text()) == {"base": "mine.yaml"}


def test_sft_has_ten_times_the_rate_and_its_own_steps(advised):
    sft, rft = map(parsed, trainings(advised(LAB / "prefix_rft.yaml", "sft_then_rft", STEPS)))
    assert (sft["learning_rate"], rft["learning_rate"]) == (2e-3, 2e-4)
    assert (sft["max_steps"], rft["max_steps"]) == (60, 100)
    assert rft["num_prefix_generations"] == 0


def test_sft_has_no_arguments_of_another_schedule(tmp_path, advised):
    given = tmp_path / "mine.yaml"
    own = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}}
    given.write_text(yaml.safe_dump({**load_recipe(LAB / "prefix_rft.yaml"), **own}))
    sft, rft = map(parsed, trainings(advised(given, "sft_then_rft", STEPS)))
    assert not sft["lr_scheduler_kwargs"]
    assert rft["lr_scheduler_kwargs"] == {"min_lr": 1e-6}


def test_a_run_takes_the_plateau(advised, capsys):
    values = {"plateau_tolerance": 0.02, "dataset_test_split": "test[256:]", "eval_strategy": "steps", "eval_steps": 5}
    changes = [SettingChange(f"sft.{name}", value, "The plateau.") for name, value in values.items()]
    path = advised(LAB / "prefix_rft.yaml", "sft_then_rft", STEPS, *changes)
    assert main(["train", "--config", str(path), "--dry_run"]) == 0, capsys.readouterr().err
    sft, rft = map(parsed, trainings(path))
    assert sft["plateau_tolerance"] == 0.02
    assert str(rft["eval_strategy"].value if hasattr(rft["eval_strategy"], "value") else rft["eval_strategy"]) == "no"


def test_stages_of_the_recipe_keep_their_settings(advised):
    room = SettingChange("max_completion_length", 64, "Room.")
    path = advised(LAB / "sft_then_rft.yaml", "sft_then_rft", STEPS, room)
    sft, rft = map(parsed, trainings(path))
    assert (sft["max_steps"], sft["learning_rate"]) == (60, 4e-3)
    assert rft["max_completion_length"] == 64
    assert "stages" in yaml.safe_load(path.read_text())


def test_flags_of_the_probe_are_part_of_it(advised):
    path = advised(LAB / "prefix_rft.yaml", "prefix_rft", lab_style="brief")
    assert yaml.safe_load(path.read_text()) == {"base": "lab/prefix_rft", "lab_style": "brief"}


@pytest.mark.parametrize("flags", [{"learning_rate": 1e-5}, {"rft.max_steps": 33, "sft.max_steps": 22}])
def test_flags_come_before_the_settings_of_stages(flags, advised):
    path = LAB / "sft_then_rft.yaml"
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    probed = map(parsed, Recipe.read(["--config", str(path), *words]).trainings(is_setting))
    written = map(parsed, trainings(advised(path, "sft_then_rft", **flags)))
    for before, after in zip(probed, written, strict=True):
        assert {name for name in before if before[name] != after[name]} <= {"distributed_state"}


def test_flags_of_stages_that_the_method_lacks_are_left_out(advised):
    (only,) = trainings(advised(LAB / "sft_then_rft.yaml", "prefix_rft", **{"rft.max_steps": 33, "sft.max_steps": 22}))
    assert parsed(only)["max_steps"] == 33


def test_secrets_of_the_command_line_are_not_written(advised):
    text = advised(LAB / "prefix_rft.yaml", "prefix_rft", hub_token="hf_abcdefghijkl", lab_style="brief").read_text()
    assert "hf_abcdefghijkl" not in text
    assert "hub_token. Give them as flags." in text
    assert yaml.safe_load(text) == {"base": "lab/prefix_rft", "lab_style": "brief"}


def test_without_a_method_only_settings_change(advised):
    path = advised(LAB / "grpo.yaml", None)
    assert yaml.safe_load(path.read_text()) == {"base": "lab/grpo"}
    assert "names no method" in path.read_text()


@pytest.mark.parametrize("group", [2, 3, 4, 6, 16])
def test_groups_of_any_size_have_a_place_for_the_stages_of_trapo(group):
    given = {"num_generations": group, "num_prefix_generations": 0}
    assert 0 < sum(checked(given | settings_for("trapo", given)).prefix_stage_generations) < group
