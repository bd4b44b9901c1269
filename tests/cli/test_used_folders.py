"""The journey of an output folder: fresh, used, finished, stopped, killed, started twice, by another recipe."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml

from prefix_rft_trl import PrefixGRPOTrainer
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run.folder import is_finished, last_checkpoint, read_curve
from prefix_rft_trl.sft import CountingSFTTrainer


SMALL = [
    "--lab_level", "easy", "--max_steps", "1", "--per_device_train_batch_size", "8", "--num_generations", "8",
    "--max_completion_length", "16", "--measure_steps", "0", "--measure_rows", "4", "--measure_max_new_tokens", "8",
]  # fmt: skip
MEASURED = ["--measure_steps", "1"]
SAVING = ["--save_strategy", "steps", "--save_steps", "1"]
LAST = ["--resume_from_checkpoint", "last"]


def train(*flags: str, recipe: str = "lab/prefix_rft") -> int:
    return main(["train", "--config", recipe, *SMALL, "--output_dir", "run", *flags])


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """Trains in vain; returns why."""

    def run(*flags: str, **recipe: str) -> str:
        capsys.readouterr()
        assert train(*flags, **recipe) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.fixture
def killed(monkeypatch) -> Callable[..., None]:
    """Starts a run that is killed in its first step."""

    def run(*flags: str, trainer: type = PrefixGRPOTrainer, **recipe: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "training_step", Mock(side_effect=KeyboardInterrupt))
            assert train(*flags, **recipe) == 130

    return run


def test_a_finished_run_is_replaced_only_on_request(refused):
    Path("run").mkdir()
    Path("run/notes.txt").touch()
    assert train(*SAVING, *MEASURED, "--max_steps", "2") == 0
    assert "run holds another run (max_steps: 2 there, 1 here). Take another `--output_dir`, or" in refused(*MEASURED)
    assert "run holds this run, and it is finished" in refused(*MEASURED, "--max_steps", "2", "--logging_steps", "1")
    before = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")}
    assert "there is no dataset file 'typo.jsonl'" in refused("--overwrite", "--dataset_name", "typo.jsonl")
    assert {path: path.stat().st_mtime_ns for path in Path("run").rglob("*")} == before

    assert train("--overwrite", "--use_peft", "true", *MEASURED) == 0
    assert [line["step"] for line in read_curve("run")] == [0, 1]
    assert last_checkpoint("run") is None
    assert Path("run/notes.txt").exists()
    assert not Path("run/model.safetensors").exists(), "of a run without an adapter"
    assert "finished" in refused("--use_peft", "true", *MEASURED)


def test_a_run_that_was_killed_before_its_first_checkpoint_is_resumed_or_replaced(killed, refused):
    killed()
    assert "run holds this run, and it is not finished. `--resume_from_checkpoint last` resumes it" in refused()
    assert "learning_rate: 0.0002 there, 0.5 here" in refused("--learning_rate", "0.5")
    killed("--overwrite", "--learning_rate", "0.5")
    assert train("--learning_rate", "0.5", *LAST) == 0
    assert is_finished("run")


def test_a_resumed_run_says_once_what_has_changed_and_refuses_what_it_cannot_take(refused, capsys):
    assert train(*SAVING) == 0
    for flags, difference in (
        (["--optim", "sgd"], "optim: adamw_torch_fused there, sgd here"),
        (["--use_peft", "true"], "use_peft: False there, True here"),
        (["--lab_style", "brief"], "lab_style: worked there, brief here"),
        (["--model_name_or_path", "no/such"], "model: lab there, no/such here"),
        (["--dataset_name", "no/such"], "dataset: lab there, no/such here"),
        (
            ["--learning_rate", "1", "--optim", "sgd"],
            "optim: adamw_torch_fused there, sgd here; learning_rate: 0.0002",
        ),
    ):
        assert f"which cannot be resumed with these settings ({difference}" in refused(*LAST, *flags)
    assert "cannot be resumed" in refused("--optim", "sgd", "--resume_from_checkpoint", "run/checkpoint-1")

    longer = [*SAVING, *LAST, "--max_steps", "2", "--learning_rate", "1e-3"]
    said = (
        "Resuming: settings of run have changed (max_steps: 1 there, 2 here; learning_rate: 0.0002 there, 0.001 here)."
    )
    capsys.readouterr()
    assert train(*longer) == 0
    assert capsys.readouterr().err.count(said) == 1
    assert train(*longer) == 0
    assert "have changed" not in capsys.readouterr().err


def test_a_checkpoint_is_resumed_in_a_fresh_folder_and_not_in_one_of_another_run(refused):
    assert train(*SAVING) == 0
    elsewhere = ["--resume_from_checkpoint", "run/checkpoint-1", "--max_steps", "2", "--output_dir"]
    assert train(*elsewhere, "fresh") == 0
    assert is_finished("fresh")
    assert train("--output_dir", "other", "--seed", "3") == 0
    assert "other holds another run (max_steps: 1 there, 2 here; seed: 3 there, 0 here)" in refused(
        *elsewhere, "other"
    )
    assert train(*elsewhere, "other", "--overwrite") == 0


def test_a_used_folder_is_refused_before_processes_are_launched(monkeypatch, killed, refused):
    killed()
    launch = Mock(return_value=0)
    monkeypatch.setattr("prefix_rft_trl.cli.train.launch", launch)
    assert "is not finished" in refused("--num_processes", "2")
    assert launch.call_count == 0
    assert train("--num_processes", "2", *LAST) == 0
    assert launch.call_count == 1


@pytest.fixture
def two_stages() -> str:
    stages = {"one": {"trainer": "sft", "per_device_train_batch_size": 4}, "two": {}}
    recipe = {"model_name_or_path": "lab", "dataset_name": "lab", "reward_funcs": ["lab_exact_answer"]}
    on_cpu = {"use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no"}
    Path("two.yaml").write_text(yaml.safe_dump({**recipe, **on_cpu, "stages": stages}))
    return "two.yaml"


def test_the_folders_of_all_stages_are_checked_before_the_first_one_starts(two_stages, killed, refused, capsys):
    killed(recipe=two_stages)  # in the second stage, the first one of its trainer
    assert is_finished("run/one")
    assert "run holds this run, and it is not finished" in refused(recipe=two_stages)
    assert "run holds another run (learning_rate: " in refused("--two.learning_rate", "1", recipe=two_stages)
    assert "run/one holds another run (seed: " in refused("--one.seed", "1", recipe=two_stages)
    assert "run/one holds another run, which cannot be" in refused("--one.optim", "sgd", *LAST, recipe=two_stages)

    assert train("--one.seed", "1", *LAST, recipe=two_stages) == 0
    said = "Stage 'one' is finished and not trained again: settings of run/one have changed (seed: 42 there, 1 here)."
    assert said in capsys.readouterr().err
    assert "run holds this run, and it is finished" in refused(recipe=two_stages)
    assert "run holds another run (model: the model of stage 'one' there, lab here; " in refused()

    assert train("--overwrite", recipe=two_stages) == 0
    assert train("--overwrite") == 0
    assert not Path("run/one").exists(), "it was a stage of the run that is replaced"


def test_all_stages_are_replaced_as_the_first_one_starts(two_stages, killed):
    assert train(*SAVING, recipe=two_stages) == 0
    killed(*SAVING, "--overwrite", trainer=CountingSFTTrainer, recipe=two_stages)
    assert last_checkpoint("run") is None, "or the new second stage would resume the old one"
    assert not Path("run/model.safetensors").exists()


def test_a_damaged_checkpoint_of_a_stage_is_passed_over(two_stages, capsys):
    assert train(*SAVING, "--two.max_steps", "2", recipe=two_stages) == 0
    weights = Path("run/checkpoint-2/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    Path("run/trainer_state.json").unlink()
    capsys.readouterr()
    assert train(*SAVING, "--two.max_steps", "2", *LAST, recipe=two_stages) == 0
    said = capsys.readouterr()
    assert "Stage 1 of 2: one is finished, in run/one" in said.out
    assert is_finished("run")
