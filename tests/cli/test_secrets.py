"""Tokens, keys and passwords in settings are used, and stand in nothing that a run writes."""

import json
import os
from pathlib import Path

import pytest
import yaml

from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.cli.launch.recipe_secrets import HIDDEN, secrets_in_environment
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.comparison.jobs import job_names, jobs_for
from prefix_rft_trl.comparison.spec import read_specification
from prefix_rft_trl.utils.errors import UserError


KEYS = ["hush-of-the-hub", "hush-of-the-tracker", "hush-of-the-judge", "hush-of-the-store", "sk-0123456789abcdefgh"]
HUB, TRACKER, JUDGE, STORE, LOOKS = KEYS
REWARD = """
import os

class Judge:
    __name__ = "judge"

    def __init__(self, api_key, note):
        assert (api_key, note, os.environ["WANDB_API_KEY"]) == %r

    def __call__(self, completions, **columns):
        return [float(len(completion)) for completion in completions]
"""
RECIPE = {
    "model_name_or_path": "lab", "dataset_name": "lab", "use_cpu": True, "bf16": False, "report_to": "none",
    "output_dir": "run", "hub_token": HUB, "env": {"WANDB_API_KEY": TRACKER, "OTHER": "1"},
    "reward_funcs": ["hushed.Judge"], "reward_kwargs": {"hushed.Judge": {"api_key": JUDGE, "note": LOOKS}},
    "model_init_kwargs": {"revision": "main"}, "per_device_train_batch_size": 8, "max_steps": 1,
    "save_strategy": "steps", "save_steps": 1, "log_completions": True,
    "max_completion_length": 8, "stages": {"first": {}, "second": {"max_completion_length": 9}},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    Path("hushed.py").write_text(REWARD % ((JUDGE, LOOKS, TRACKER),))
    Path("recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def files_with_secrets(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [str(file) for file in files if any(key.encode() in file.read_bytes() for key in KEYS)]


def test_a_run_of_stages_uses_its_secrets_and_writes_none(folder, capsys):
    assert main(["train", "--config", "recipe.yaml"]) == 0
    assert (folder / "run" / "second" / "recipe.yaml").exists() or (folder / "run" / "recipe.yaml").exists()
    assert list((folder / "run").rglob("training_args.bin"))
    assert list((folder / "run").rglob("README.md"))
    assert files_with_secrets(folder / "run") == []
    written = yaml.safe_load((folder / "run" / "first" / "recipe.yaml").read_text())
    assert written["env"] == {"WANDB_API_KEY": "<secret>", "OTHER": "1"}
    assert written["reward_kwargs"] == {"hushed.Judge": {"api_key": "<secret>", "note": "<secret>"}}

    changed = yaml.safe_dump(RECIPE).replace(HUB, "another-token")  # a new token is no other run
    Path("recipe.yaml").write_text(changed)
    capsys.readouterr()
    assert main(["train", "--config", "recipe.yaml", "--resume_from_checkpoint", "last", "--max_steps", "2"]) == 0
    said = capsys.readouterr()
    assert "holds another run" not in said.err
    assert "reward_kwargs" not in said.err
    assert files_with_secrets(folder / "run") == []


def test_the_run_of_an_older_release_that_wrote_its_secrets_is_the_same_run(folder):
    recipe = {name: value for name, value in RECIPE.items() if name != "stages"}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", "--config", "recipe.yaml"]) == 0
    file = folder / "run" / "run_settings.json"
    content = json.loads(file.read_text())
    assert content["reward_kwargs"] == {"api_key": "<secret>", "note": "<secret>"}
    content["fingerprint"]["reward_kwargs"] = RECIPE["reward_kwargs"]
    file.write_text(json.dumps(content))
    assert main(["train", "--config", "recipe.yaml", "--resume_from_checkpoint", "last"]) == 0


def test_a_dry_run_shows_no_secret(folder, capsys):
    line = ["--hub_token", STORE, "--dry_run"]
    assert main(["train", "--config", "recipe.yaml", *line]) == 0
    said = "".join(capsys.readouterr())
    assert "<secret>" in said
    assert not [key for key in KEYS if key in said]


def test_a_process_that_is_launched_reads_the_secrets_from_its_environment(folder):
    recipe = Recipe({name: value for name, value in RECIPE.items() if name != "stages"})
    with secrets_in_environment(recipe.settings):
        written = recipe.write(folder / "written.yaml")
        assert not [key for key in KEYS if key in (folder / "written.yaml").read_text()]
        read = Recipe.read(written.command_line)
    assert read.settings == recipe.settings == written.settings
    assert HIDDEN not in os.environ


def test_a_written_recipe_takes_its_secrets_from_the_environment_or_says_which_one_it_needs(folder):
    single = {name: value for name, value in RECIPE.items() if name != "stages"}
    single["reward_kwargs"] = {"hushed.Judge": {"api_key": JUDGE}}
    Recipe(single).write(folder / "written.yaml")
    line = ["--config", "written.yaml"]
    with pytest.raises(UserError, match=r"`env.WANDB_API_KEY` in 'written.yaml' is '<secret>'.* WANDB_API_KEY, or"):
        Recipe.read(line)
    os.environ["WANDB_API_KEY"] = TRACKER
    with pytest.raises(UserError, match=r"api_key` in 'written.yaml' .* variable API_KEY, or take the recipe"):
        Recipe.read(line)
    os.environ["API_KEY"] = JUDGE
    assert Recipe.read(line).settings == {**single, "hub_token": None}


def test_a_comparison_records_no_secret(folder):
    recipe = {name: value for name, value in RECIPE.items() if name != "stages"}
    contents = {"tables": [{"rows": {"a": {"recipe": "recipe", "hub_token": STORE}, "b": "recipe"}}]}
    specification = read_specification({folder / "recipe.yaml": recipe}, contents, 1, {})
    names = job_names(jobs_for(specification.trials, folder))
    recorded = repr([trial.settings for trial in specification.trials]) + repr([*names.values()])
    assert "<secret>" in recorded
    assert not [key for key in KEYS if key in recorded]
    assert ["--hub_token", STORE] in [trial.flags() for trial in specification.trials]  # the training is given it
