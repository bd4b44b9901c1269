"""Model cards of runs: model, data, accuracy, settings and command, nothing invented, nothing of the machine."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from scipy.stats import binomtest
from trl import GRPOConfig
from trl.trainer.utils import generate_model_card

from prefix_rft_trl.cli.launch.recipe import Recipe
from prefix_rft_trl.cli.launch.run_record import public_command
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run import read_curve
from prefix_rft_trl.run.fingerprint import RunFingerprint
from prefix_rft_trl.run.model_card import PROCEDURE, VERSIONS, make_card
from prefix_rft_trl.run.record import RunRecord, shown
from prefix_rft_trl.run.used_folder import PlannedRun, begin_planned_run, start_in_environment


SMALL = [
    "--max_steps", "2", "--measure_steps", "1", "--measure_rows", "24", "--measure_max_new_tokens", "8",
    "--disable_tqdm", "true", "--report_to", "none",
]  # fmt: skip


def card_of(**known: Any) -> str:
    """The text of a card for a run with this record, curve and example."""
    record = {"model": "org/model", "dataset": "", "settings": {}, "command": "", "stages_before": []}
    folder, example, state = known.pop("folder", "none"), known.pop("example", None), known.pop("state", {})
    trainer = SimpleNamespace(
        args=SimpleNamespace(output_dir=str(folder), seed=7, load_best_model_at_end="best_global_step" in state),
        state=SimpleNamespace(**{"global_step": 4, "max_steps": 4, "best_global_step": None, **state}),
        train_dataset=[{"prompt": "of a row"}],
        example_prompt=example,
    )
    made = RunRecord.at_start(**{**record, **known})
    given = {"model_name": "mine", "hub_model_id": None, "dataset_name": made.dataset_on_hub, "tags": ["b", "a"]}
    given |= {"base_model": None, "wandb_url": None, "trackio_url": None, "trainer_name": "Prefix-RFT"}
    return str(make_card(trainer, made, **given))


def test_card_of_trl_has_the_headings_that_are_kept():
    names = ("base_model", "model_name", "hub_model_id", "dataset_name", "wandb_url", "trackio_url", "trainer_name")
    card = str(generate_model_card(**dict.fromkeys(names, "x"), tags=[]))
    assert card.index(PROCEDURE) < card.index(VERSIONS) < card.index("## Citations")


def test_card_of_two_stages_holds_what_the_command_line_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stages = {"first": {"trainer": "sft"}, "second": {"num_generations": 4, "max_completion_length": 8}}
    shared = {"model_name_or_path": "lab", "dataset_name": "lab", "reward_funcs": "lab_exact_answer", "use_cpu": True}
    recipe = {**shared, "bf16": False, "per_device_train_batch_size": 8, "stages": stages}
    Path("two.yaml").write_text(yaml.safe_dump(recipe))
    line = ["--config", str(tmp_path / "two.yaml"), *SMALL, "--output_dir", "run", "--second.learning_rate", "1e-4"]
    assert main(["train", *line]) == 0
    first, second = (ModelCard.load(Path(folder, "README.md")) for folder in ("run/first", "run"))
    command = (
        "prefix-rft train --config two.yaml --max_steps 2 --measure_steps 1 --measure_rows 24 "
        "--measure_max_new_tokens 8 --second.learning_rate 1e-4"
    )
    model = "This model is the lab's base model (of prefix_rft_trl) trained with"
    assert f"{model} SFT on the lab's dataset.\n" in first.text
    assert f"{model} Prefix-RFT on the lab's dataset, after the stage `first`.\n" in second.text
    prompt = json.loads(second.text.split("prompt = ")[1].splitlines()[0])
    for card, folder in ((first, "run/first"), (second, "run")):
        assert command in card.text
        assert "The seed was 42." in card.text
        assert f'model="{folder}"' in card.text
        assert prompt.endswith("=")  # a sum
        assert str(tmp_path) not in str(card)
        assert "None" not in card.text
        assert "time machine" not in card.text
        assert card.data.tags == sorted(card.data.tags)
        for line in read_curve(folder)[::2]:
            interval = binomtest(round(24 * line["accuracy"]), 24).proportion_ci(method="wilson")
            assert f"{line['accuracy']:.3f} | {interval.low:.3f} to {interval.high:.3f} |" in card.text
    assert "| `learning_rate` | `0.0001` |" in second.text
    assert "learning_rate" not in first.text.split("## Training procedure")[1].replace(command, "")
    assert "`loss_type`" not in second.text  # a default


def test_card_of_a_script_has_the_settings_of_its_arguments(make_trainer, tmp_path):
    make_trainer(tmp_path, beta=0.25, save_steps=3).create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert f"# {tmp_path.name}\n" in card
    assert "| `beta` | `0.25` |" in card
    assert "| `save_steps`" not in card
    assert "| `steps_per_generation`" not in card
    assert "## Accuracy" not in card
    assert 'prompt = "..."' in card  # its rows may be nobody else's


@pytest.mark.parametrize(
    ("known", "part"),
    [
        ({}, "This model is [org/model](https://huggingface.co/org/model) trained with Prefix-RFT."),
        ({"model": "org/model at v2"}, "[org/model at v2](https://huggingface.co/org/model)"),
        ({"model": "/home/me/models/mine"}, "This model is `mine` trained"),
        ({"model": ""}, "This model is a model trained"),
        ({"dataset": "openai/gsm8k, main"}, "on [openai/gsm8k, main](https://huggingface.co/datasets/openai/gsm8k)."),
        ({"dataset": "/home/me/rows.jsonl"}, "with Prefix-RFT on `rows.jsonl`."),
        ({"dataset": "reasoning_gym/gcd"}, "with Prefix-RFT on `reasoning_gym/gcd`."),
        ({"stages_before": ["a", "b"]}, "trained with Prefix-RFT, after the stage `a`, `b`."),
        ({"settings": {"instruction": "a | b\n`c`"}}, "| `instruction` | `a \\| b 'c'` |"),
        ({"settings": {"reward_kwargs": {"name": "hf_abcdefghijklmn"}}}, '`{"name": "<secret>"}`'),
        ({"settings": {"reward_kwargs": {"api_key": "a"}}}, '`{"api_key": "<secret>"}`'),
        ({"dataset": "https://me:word@host/rows.jsonl"}, "`https://<secret>@host/rows.jsonl`"),
    ],
    ids=str,
)
def test_card_says_what_is_known_and_links_what_is_on_the_hub(known, part):
    assert part in card_of(**known)


def test_folders_of_the_working_directory_are_not_taken_for_names_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("org/model").mkdir(parents=True)
    Path("org/data").mkdir()
    card = card_of(dataset="org/data")
    assert "`org/model` trained with Prefix-RFT on `org/data`." in card
    assert "huggingface.co/org" not in card
    assert "\ndatasets:" not in card
    assert "\nbase_model:" not in card


def test_folders_that_are_gone_at_the_end_of_a_run_are_not_taken_for_names_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/gone").mkdir(parents=True)
    record = RunRecord.at_start("runs/gone", "runs/gone")
    planned = PlannedRun(Path("run"), RunFingerprint({}), record=record)
    with start_in_environment(planned, []):
        Path("runs/gone").rmdir()
        found = begin_planned_run()[1]
    assert (found.model_on_hub, found.dataset_on_hub) == (None, None)
    for gone in ("/home/me/data", "../data", "~/data", "a/b/c"):
        assert RunRecord.at_start(gone, gone).dataset_on_hub is None
        assert RunRecord.at_start(gone, gone).model_on_hub is None


def test_card_of_a_script_knows_where_its_model_was_when_it_started(make_trainer, tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, max_steps=1)
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    trainer.model.config._name_or_path = "mine"
    trainer.train()
    Path("mine").rmdir()
    trainer.create_model_card()
    assert "This model is `mine` trained" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("dataset", "shows"), [("openai/gsm8k", True), ("lab", True), ("mine.jsonl", False), ("", False)]
)
@pytest.mark.parametrize(
    "example", ["What is 1+1?", [{"role": "user", "content": "What is 1+1?"}]], ids=["text", "chat"]
)
def test_only_prompts_of_public_data_are_shown(dataset, shows, example):
    card = card_of(dataset=dataset, example=example)
    stand_in = "..." if isinstance(example, str) else [{"role": "user", "content": "..."}]
    assert json.loads(card.split("prompt = ")[1].splitlines()[0].split("  #")[0]) == (example if shows else stand_in)


LINES = [
    {"step": 0, "accuracy": 0.25, "problems": 40},
    {"step": 2, "accuracy": 0.75, "problems": 40},
    {"step": 4, "accuracy": 0.5, "problems": 40},
    {"step": 6, "accuracy": 1.0, "problems": 40},
]


@pytest.mark.parametrize(
    ("state", "lines", "rows"),
    [
        ({}, LINES, ["| 0 (before training) | 0.250 | 0.142 to 0.402 |", "| 4 | 0.500 | 0.352 to 0.648 |"]),
        ({"best_global_step": 2}, LINES, ["| 0 (before", "| 2 | 0.750 | 0.598 to 0.858 |"]),
        ({"best_global_step": 2, "max_steps": 9}, LINES, ["| 0 (before", "| 4 | 0.500"]),  # not loaded yet
        ({"global_step": 0}, LINES, ["| 0 (before training) | 0.250"]),
        ({"global_step": 3}, LINES, ["| 0 (before", "| 2 | 0.750"]),
        ({}, [{"step": 4, "accuracy": 0.5}], ["| 4 | 0.500 |  |"]),
        ({}, [{"step": 4, "accuracy": -0.5, "problems": 40}], ["| 4 | -0.500 |  |"]),  # no share
        ({}, [{"step": 4, "accuracy": 1.0, "problems": 40}], ["| 4 | 1.000 | 0.912 to 1.000 |"]),
        ({}, [{"step": 4, "loss": 1.0}], []),
        ({}, [{"step": 4, "accuracy": 0.0, "problems": 0}], []),  # of no problem, as runs to 0.9.0 wrote it
        ({}, [], []),
    ],
    ids=str,
)
def test_accuracy_is_that_of_the_saved_weights(state, lines, rows, tmp_path):
    (tmp_path / "curve.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    card = card_of(state=state, folder=tmp_path)
    found = [line for line in card.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(found) == len(rows)
    assert all(line.startswith(row) for line, row in zip(found, rows, strict=True))
    assert ("## Accuracy" in card) == bool(rows)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--config", "lab/sft", "--seed", "3"], "--config lab/sft.yaml --seed 3"),
        (["--config", "recipes/lab/sft.yaml", "--output_dir", "elsewhere"], "--config lab/sft.yaml"),
        (["--resume_from_checkpoint", "last", "--overwrite"], ""),
        (["--hub_token", "hf_abcdefghijk", "--push_to_hub", "--hub_model_id=me/mine"], ""),
        (
            ["--dataset_name", "/data/mine.jsonl", "--num_processes", "8"],
            "--dataset_name mine.jsonl --num_processes 8",
        ),
        (["--eval_benchmarks", "/secret/aime.jsonl", "../b.jsonl"], "--eval_benchmarks aime.jsonl b.jsonl"),
        (
            ["--model_changes", '{"folder": "/home/me/x"}', "--accelerate_config=../x.yaml"],
            '--model_changes \'{"folder": "x"}\' --accelerate_config x.yaml',
        ),
        (["--instruction", "Think first."], "--instruction 'Think first.'"),
        (["--sft.learning_rate", "1", "--sft.output_dir", "/x"], "--sft.learning_rate 1"),
    ],
)
def test_command_is_without_places_and_secrets(flags, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert public_command(Recipe.read(flags)) == f"prefix-rft train {expected}".strip()


def test_paths_are_shown_as_seen_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = [str(tmp_path / "runs" / "a"), "/elsewhere/a", "~/a", "runs/a", 1e-4, None, ["x"]]
    assert list(map(shown, values)) == ["runs/a", "a", "a", "runs/a", "0.0001", "null", '["x"]']


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"folder": "/home/me/models/x", "config": {"a": 1}}, '{"folder": "x", "config": {"a": 1}}'),
        (["/home/me/secret/aime.jsonl", "math500"], '["aime.jsonl", "math500"]'),
        ([{"deep": ["~/a/b"]}], '[{"deep": ["b"]}]'),
        ('{"folder": "/home/me/models/x"}', '{"folder": "x"}'),
        ("../secret/x.jsonl", "x.jsonl"),
        ("runs/../../secret/x.jsonl", "x.jsonl"),
        ("runs/../data/x.jsonl", "data/x.jsonl"),
        (Path("/home/me/x"), "x"),
        ({"/home/me/x": None}, '{"x": null}'),
        ("{not json", "{not json"),
        ("/", "/"),
        ({"words": ["hf_abcdefghijklmn"]}, '{"words": ["<secret>"]}'),
    ],
    ids=str,
)
def test_no_folder_of_this_machine_is_shown_however_deep_its_path_stands(value, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown(value) == expected


def test_plain_grpo_has_a_card_too(make_trainer, tmp_path):
    make_trainer(tmp_path, config_class=GRPOConfig).create_model_card()
    assert "trained with GRPO." in (tmp_path / "README.md").read_text()
