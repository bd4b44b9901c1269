"""Run folders of 0.6.0 resume and are read (data/checkpoint_0_6_0/make.py made this one)."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run import SuccessHistory, is_finished, last_checkpoint, read_curve
from prefix_rft_trl.run.folder import why_incomplete
from prefix_rft_trl.run.settings import RunSettings, settings_of_run


DATA = Path(__file__).parent / "data" / "checkpoint_0_6_0"


@pytest.fixture
def old_run(tmp_path, monkeypatch) -> Path:
    shutil.copytree(DATA / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(DATA)
    return Path("run")


def test_folder_of_0_6_0_is_read(old_run):
    checkpoint = old_run / "checkpoint-5"
    assert [line["step"] for line in read_curve(old_run)] == [0, 4]
    assert not is_finished(old_run)
    assert last_checkpoint(old_run) == str(checkpoint)
    expected = RunSettings(
        instruction="", conversational=False, chat_template_kwargs={}, reward="make.graded_reward", reward_kwargs={},
        max_new_tokens=12, lab_level="easy",
    )  # fmt: skip
    assert settings_of_run(str(old_run)) == settings_of_run(str(checkpoint)) == expected


def test_run_of_0_6_0_resumes_to_the_weights_that_0_6_0_reached(old_run, monkeypatch):
    rates = read_state(old_run / "checkpoint-5")["stateful_callbacks"]["ProblemMemory"]["attributes"]
    loaded = []
    on_train_begin = SuccessHistory.on_train_begin

    def note_rates(history, *args, **kwargs):
        on_train_begin(history, *args, **kwargs)
        loaded.append({"last": dict(history.last), "best": dict(history.best)})

    monkeypatch.setattr(SuccessHistory, "on_train_begin", note_rates)
    saving = ["--save_strategy", "steps", "--save_steps", "2", "--resume_from_checkpoint", "last"]
    later = ("trim_padding", "group_rollouts_by_length", "skip_zero_weight_rollouts")  # other prefix tokens are ranked
    as_then = [word for name in later for word in (f"--{name}", "false")]
    line = [
        "train",
        "--config",
        str(DATA / "recipe.yaml"),
        "--model_name_or_path",
        "run/checkpoint-5",
        *saving,
        *as_then,
    ]
    assert main(line) == 0
    assert loaded == [rates]
    assert is_finished(old_run)
    assert [line["step"] for line in read_curve(old_run)] == [0, 4, 8, 10]
    found, expected = load_file(old_run / "model.safetensors"), load_file(DATA / "expected.safetensors")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert why_incomplete(old_run / "checkpoint-10") is None
    saved = read_state(old_run / "checkpoint-10")["stateful_callbacks"]
    assert set(saved) == {"SuccessHistory", "TrainerControl"}
    assert rates["last"].keys() < saved["SuccessHistory"]["attributes"]["last"].keys()


def read_state(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "trainer_state.json").read_text())
