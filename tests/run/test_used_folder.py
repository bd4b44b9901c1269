"""What identifies a run, what it leaves in its folder, and what of that is removed for the next one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefix_rft_trl.run.fingerprint import MOST_CHANGES, RunFingerprint, describe_changes
from prefix_rft_trl.run.settings import RUN_SETTINGS, RunSettings
from prefix_rft_trl.run.used_folder import holds_run, left_by_run, remove_run


SETTINGS = {"model_name_or_path": "lab", "dataset_name": "lab", "learning_rate": 1e-4, "lab_level": "easy"}


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def changes() -> Callable[..., str]:
    """What differs between runs with these settings and with others."""

    def compare(there: dict[str, Any], here: dict[str, Any]) -> str:
        earlier, later = (RunFingerprint.from_settings({**SETTINGS, **own}) for own in (there, here))
        return describe_changes(earlier.changes(later))

    return compare


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ({}, {}),
        ({"output_dir": "a", "logging_steps": 1}, {"output_dir": "b", "logging_steps": 2, "save_steps": 3}),
        ({"vllm_server_host": "node1", "hub_token": "x"}, {"vllm_server_host": "node2", "hub_token": "y"}),
        ({"reward_funcs": ["a"]}, {"reward_funcs": "a"}),
        ({"reasoning_gym": '{"size": 1}'}, {"reasoning_gym": {"size": 1}}),
        ({"warmup_steps": 6}, {"warmup_steps": 6.0}),
        ({"num_generations": 4}, {}),  # a setting of one version alone is not compared
    ],
)
def test_runs_are_the_same_wherever_they_write_and_however_a_value_is_given(changes, there, here):
    assert changes(there, here) == ""


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ({}, {"learning_rate": 2e-4}, "learning_rate: 0.0001 there, 0.0002 here"),
        ({}, {"model_name_or_path": "some/model"}, "model: lab there, some/model here"),
        ({"model_revision": "main"}, {"model_revision": "v2"}, "model: lab there, lab at v2 here"),
        ({}, {"dataset_name": "some/data", "dataset_config": "main"}, "dataset: lab there, some/data, main here"),
        ({}, {"learning_rate": 1.0, "lab_level": "hard"}, "lab_level: easy there, hard here; learning_rate: 0.0001"),
        ({"reasoning_gym": {"size": 1}}, {"reasoning_gym": {"size": 2}}, 'reasoning_gym: {"size": 1} there'),
    ],
)
def test_what_differs_is_named(changes, there, here, expected):
    assert changes(there, here).startswith(expected)


def test_many_differences_are_counted():
    there, here = (RunFingerprint({f"setting{i}": value for i in range(9)}) for value in (1, 2))
    described = describe_changes(there.changes(here))
    assert described.count(" there, ") == MOST_CHANGES
    assert described.endswith("; and 4 more")


def test_local_files_are_compared_by_their_content(base_model):
    def fingerprint(dataset: str, model: str) -> RunFingerprint:
        return RunFingerprint.from_settings({"model_name_or_path": model, "dataset_name": dataset})

    for name, text in (("a.jsonl", "{}"), ("b.jsonl", "{}"), ("folder/a.jsonl", "{}"), ("m/config.json", "{}")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    before = fingerprint("a.jsonl", "m")
    assert before.changes(fingerprint("b.jsonl", "m")) == []
    assert before.changes(fingerprint("folder", str(Path("m").resolve()))) == []
    Path("a.jsonl").write_text("{} ")
    Path("m/config.json").write_text("{} ")
    assert (
        describe_changes(before.changes(fingerprint("a.jsonl", "m")))
        == "model: m has changed; dataset: a.jsonl has changed"
    )
    assert describe_changes(before.changes(fingerprint("a.jsonl", base_model))).startswith("model: m there, /")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"fingerprint": 3}', "{}", "\udcff"])
def test_a_damaged_settings_file_is_of_a_run_without_fingerprint(text):
    Path(RUN_SETTINGS).write_text(text, errors="surrogateescape")
    assert RunFingerprint.read(Path()) is None
    assert holds_run(Path())


OWN_FILES = [
    "notes.md", "log.txt", ".prefix-rft.lock", "README.md", "data.jsonl", "recipe.yaml", "completions/mine.txt",
    "eval/results.json", "checkpoint-best/model.safetensors", "other/run_settings.json", "other/model.safetensors",
    "runs/events",
]  # fmt: skip
OF_A_RUN = [
    "curve.jsonl", "trainer_state.json", "training_args.bin", "checkpoint-10/a/b", "config.json", "model.safetensors",
    "model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter_model.safetensors",
    "tokenizer_config.json", "completions/completions_00001.parquet", "merged/merged_from.json", "merged/config.json",
    "sft/curve.jsonl", "sft/recipe.yaml", "sft/config.json",
]  # fmt: skip


def test_only_what_a_run_and_its_stages_have_left_is_removed():
    for name in (*OWN_FILES, *OF_A_RUN):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    RunSettings().write("")
    RunSettings().write("sft", {"stage": "sft"})
    RunSettings().write("other", {"stage": "sft"})  # the last stage of a recipe of its own
    Path("linked").mkdir()
    Path("checkpoint-20").symlink_to("linked")
    assert holds_run(Path())
    remove_run(Path())
    left = sorted(str(path) for path in Path().rglob("*") if not path.is_dir())
    assert left == sorted(OWN_FILES)
    assert Path("linked").is_dir()
    assert not any(Path(name).exists() for name in ("sft", "merged", "checkpoint-10", "checkpoint-20"))
    assert not holds_run(Path())
    assert left_by_run(Path()) == []


def test_the_card_of_a_model_is_removed_and_another_readme_is_not():
    Path("curve.jsonl").touch()
    Path("README.md").write_text("---\ntags:\n- generated_from_trainer\n---\n")
    assert Path("README.md") in left_by_run(Path())


def test_the_fingerprint_is_kept_beside_the_settings_of_answers():
    RunSettings(instruction="Go.").write("", {"seed": 1})
    assert json.loads(Path(RUN_SETTINGS).read_text())["instruction"] == "Go."
    assert RunFingerprint.read(Path()) == RunFingerprint({"seed": 1})
