"""Recipes of several stages and of SFT, for real, in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.data.loading import with_demonstrations
from prefix_rft_trl.run.folder import STATE, is_finished, read_curve
from prefix_rft_trl.run.used_folder import begin_planned_run
from prefix_rft_trl.sft import CountingSFTTrainer


RECIPES = Path(__file__).parents[2] / "recipes" / "lab"
SMALL = ["--lab_level", "easy", "--max_steps", "2", "--per_device_train_batch_size", "8", "--num_generations", "4"]
SMALL += ["--measure_rows", "8", "--measure_max_new_tokens", "8", "--max_completion_length", "20"]
SFT = ["--trainer", "sft", "--model_name_or_path", "lab", "--use_cpu", "true", "--bf16", "false"]
SFT += ["--max_steps", "1", "--report_to", "none", "--per_device_train_batch_size", "4", "--save_strategy", "no"]


def train(*arguments: Any) -> int:
    return main(["train", *map(str, arguments)])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def stages_begun(monkeypatch) -> list[tuple[str, str]]:
    """(trainer, folder) of each training that was begun."""
    from prefix_rft_trl.cli.launch import trainers

    found = []
    for name, make in list(trainers.TRAINERS.items()):

        def make_and_note(script_args, training_args, model_args, name=name, make=make):
            found.append((name, training_args.output_dir))
            return make(script_args, training_args, model_args)

        monkeypatch.setitem(trainers.TRAINERS, name, make_and_note)
    return found


def test_the_second_stage_starts_from_what_the_first_has_written(tmp_path, base_model, stages_begun):
    recipe, folder = RECIPES / "sft_then_rft.yaml", tmp_path / "run"
    assert train("--config", recipe, *SMALL, "--rft.learning_rate", "0", "--output_dir", folder) == 0
    assert stages_begun == [("sft", str(folder / "sft")), ("prefix_grpo", str(folder))]
    sft_weights = weights(folder / "sft")
    assert not same(sft_weights, weights(Path(base_model)))  # it has learned
    assert same(sft_weights, weights(folder))  # the second stage starts from them and learns nothing
    sft, rft = read_curve(folder / "sft"), read_curve(folder)
    assert [line["step"] for line in sft] == [line["step"] for line in rft] == [0, 2]
    assert sft[-1]["accuracy"] == rft[0]["accuracy"] == rft[-1]["accuracy"]
    assert is_finished(folder / "sft")
    assert is_finished(folder)

    # What has ended is not trained again when the run is resumed; its second stage is
    stages_begun.clear()
    (folder / STATE).unlink()
    before = (folder / "sft" / STATE).stat().st_mtime_ns
    learns = ["--num_prefix_generations", "1", "--prefix_loss_type", "cross_entropy"]
    resumed = [*SMALL, *learns, "--output_dir", folder, "--resume_from_checkpoint", "last"]
    assert train("--config", recipe, *resumed) == 0
    assert stages_begun == [("prefix_grpo", str(folder))]
    assert (folder / "sft" / STATE).stat().st_mtime_ns == before
    assert same(sft_weights, weights(folder / "sft"))
    assert not same(sft_weights, weights(folder))


@pytest.fixture
def two_stages(tmp_path) -> Callable[..., list]:
    """Makes the command line of a recipe of two short stages, with other settings."""

    def make(**others: Any) -> list:
        stage = {"trainer": "sft", "max_steps": 1}
        shared = {"output_dir": "unused", "use_cpu": True, "bf16": False}
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"stages": {"one": stage, "two": stage}, **shared, **others}))
        return ["--config", path, "--output_dir", tmp_path / "run"]

    return make


@pytest.fixture
def launched(monkeypatch) -> list[Path]:
    """Folders of the stages that begin to train, and then end as if they had been killed."""
    from prefix_rft_trl.cli.launch import training_script

    found = []

    def stop(recipe):
        begin_planned_run()
        assert yaml.safe_load(recipe.path.read_text()) == recipe.settings
        found.append(Path(recipe.settings["output_dir"]))
        return 3

    monkeypatch.setattr(training_script, "train", stop)
    return found


def test_a_stage_has_the_environment_of_its_recipe_and_ends_the_run_if_it_fails(tmp_path, two_stages, launched):
    assert train(*two_stages(env={"OF_THE_RECIPE": "1"})) == 3
    assert launched == [tmp_path / "run" / "one"]
    assert yaml.safe_load((tmp_path / "run" / "one" / "recipe.yaml").read_text())["env"] == {"OF_THE_RECIPE": "1"}


def test_a_run_that_starts_over_does_not_count_the_stages_of_an_earlier_one(tmp_path, two_stages, launched):
    for folder in (tmp_path / "run" / "one", tmp_path / "run"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STATE).write_text('{"global_step": 1, "max_steps": 1}')
    assert train(*two_stages(), "--overwrite") == 3
    assert train(*two_stages(), "--resume_from_checkpoint", "last") == 3
    assert launched == [tmp_path / "run" / "one"] * 2


@pytest.mark.parametrize(
    ("flags", "changes", "part"),
    [
        (["--colour", "red"], {}, "'colour' in the command line"),
        (["--trainer", "stf"], {}, "'stf'"),
        ([], {"stages": {"one": {}, "two": {"lerning_rate": 1}}}, "Did you mean 'learning_rate'?"),
        (["--one.max_steps", "few"], {}, "few"),
    ],
)
def test_a_wrong_setting_of_any_stage_is_refused_before_the_first_one(
    tmp_path, refusal, two_stages, launched, flags, changes, part
):
    assert part in refusal("train", *two_stages(**changes), *flags)
    assert not (tmp_path / "run").exists()
    assert launched == []


def test_stages_resume_from_the_last_checkpoint_only(refusal, two_stages):
    assert "`--resume_from_checkpoint last`" in refusal("train", *two_stages(), "--resume_from_checkpoint", "true")


# SFT


@pytest.fixture
def batches(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The batches that SFT trains on."""
    found = []
    compute_loss = CountingSFTTrainer.compute_loss

    def keep(trainer, model, inputs, *args, **named):
        found.append({name: inputs[name].clone() for name in ("input_ids", "labels")})
        return compute_loss(trainer, model, inputs, *args, **named)

    monkeypatch.setattr(CountingSFTTrainer, "compute_loss", keep)
    return found


def test_sft_trains_on_the_tokens_of_demonstrations_and_their_end_only(tmp_path, batches, base_model):
    rows = [
        {"q": "1+1=", "worked": ["1+1=2;#2", "#2"]},
        {"q": "2+2=", "worked": []},
        {"q": "3+3=", "worked": ["3+3=6;#6"]},
        {"q": "4+4=", "worked": None},
        {"q": "5+5=", "worked": ["", "#0"]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    line = ["--dataset_name", tmp_path / "rows.jsonl", "--prompt_column", "q", "--demonstration_column", "worked"]
    assert train(*SFT, *line, "--output_dir", tmp_path / "model") == 0  # without a reward, as nothing is measured
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    (batch,) = batches
    trained = {
        (
            tokenizer.decode([i for i, label in zip(ids, labels, strict=True) if label == -100 and i != 0]),
            tokenizer.decode([label for label in labels if label != -100]),
        )
        for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    }
    first = {("1+1=", "1+1=2;#2<eos>"), ("1+1=", "#2<eos>")}
    assert trained == {*first, ("3+3=", "3+3=6;#6<eos>"), ("5+5=", "#0<eos>")}
    assert not (tmp_path / "model" / "curve.jsonl").exists()


MESSAGE = {"role": "assistant", "content": "#2"}


@pytest.mark.parametrize(
    ("prompt", "demonstrations", "expected"),
    [
        ("1+1=", ["#2"], ["#2"]),
        ("1+1=", [[MESSAGE]], ["#2"]),
        ("1+1=", [["#2", "1+1=2;#2"]], ["#2", "1+1=2;#2"]),
        ("1+1=", [[[MESSAGE], [MESSAGE]]], ["#2", "#2"]),
        ([{"role": "user", "content": "1+1="}], ["#2"], [[MESSAGE]]),
        ([{"role": "user", "content": "1+1="}], [[MESSAGE]], [[MESSAGE]]),
    ],
)
def test_a_demonstration_has_the_form_of_its_prompt(prompt, demonstrations, expected):
    dataset = Dataset.from_dict({"prompt": [prompt], "completion": demonstrations, "solution": ["2"]})
    rows = with_demonstrations(dataset, "completion")
    assert sorted(rows.column_names) == ["completion", "prompt"]
    assert [(row["prompt"], row["completion"]) for row in rows] == [(prompt, one) for one in expected]


def test_demonstrations_keep_their_order_over_many_batches():
    numbers = range(2500)
    dataset = Dataset.from_dict(
        {"prompt": [str(i) for i in numbers], "worked": [f"#{i}" if i % 3 else "" for i in numbers]}
    )
    rows = with_demonstrations(dataset, "worked")
    assert [(row["prompt"], row["completion"]) for row in rows] == [(str(i), f"#{i}") for i in numbers if i % 3]


MATH, EXACT = "math_accuracy_reward", "lab_exact_answer"
MEASURED = ["--measure_steps", "1", "--reward_funcs"]
NO_MODEL = [*SFT, "--model_name_or_path", "no/such/model", "--dataset_name", "lab"]


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--demonstration_column", "worked"], ["'worked'", "completion"]),
        (["--lab_demonstrated_share", "0"], ["None of the 512 rows", "'completion'"]),
        (["--lab_corrupted_share", "2"], ["corrupted_share", "2"]),
        (["--lab_level", "harder"], ["'harder'", "easy, hard"]),
        (["--measure_steps", "1"], ["`measure_steps` needs a reward", "reward_funcs"]),
        (
            [*MEASURED, MATH, "--reward_kwargs", f'{{"{MATH}": {{"solution_column": "x"}}}}'],
            ["reads the column 'x'", "Set `reward_kwargs", "solution_column"],
        ),
        ([*MEASURED, MATH, "--reward_kwargs", '{"other": {}}'], ["`reward_kwargs` names other", MATH]),
        ([*MEASURED, EXACT, "--measure_split", "dev"], ["no split 'dev'", "train, test", "measure_split"]),
        ([*MEASURED, EXACT, "--measure_rows", "0"], ["`measure_rows` must be at least 1", "0"]),
        ([], ["no/such/model"]),
    ],
)
def test_wrong_settings_of_sft_are_refused_before_the_model_is_loaded(tmp_path, refusal, flags, parts):
    error = refusal("train", *NO_MODEL, *flags, "--output_dir", tmp_path / "model")
    assert all(part in error for part in parts), error


def test_accuracy_is_measured_on_a_streamed_dataset(tmp_path):
    rows = [{"prompt": f"{i}+1=", "completion": f"#{i + 1}", "solution": str(i + 1)} for i in range(8)]
    for name, part in (("rows", rows[:4]), ("test", rows[4:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    recipe = [*SFT, "--dataset_name", tmp_path / "rows.jsonl", "--dataset_streaming", "true"]
    measured = ["--measure_steps", "1", "--dataset_test_file", tmp_path / "test.jsonl", "--measure_rows", "4"]
    line = [*recipe, *measured, "--measure_max_new_tokens", "4", "--reward_funcs", "lab_exact_answer"]
    assert train(*line, "--output_dir", tmp_path / "model") == 0
    assert [line["trained_tokens"] for line in read_curve(tmp_path / "model")] == [0, 4 * 3]  # #, digit, end
