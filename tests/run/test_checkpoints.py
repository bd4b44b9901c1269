"""Incomplete checkpoints, checkpoints that cannot be written, and those of a stopped run."""

import json
import logging
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from trl import SFTConfig

from prefix_rft_trl import PrefixGRPOTrainer, lab
from prefix_rft_trl.run import StopOnSignal, checkpoints, folder, last_checkpoint
from prefix_rft_trl.run.checkpoints import resolve_checkpoint
from prefix_rft_trl.run.folder import FILES, INCOMPLETE, STATE, checksum, mark_complete, why_incomplete
from prefix_rft_trl.run.identity import IDENTITY
from prefix_rft_trl.sft import CountingSFTTrainer


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_trainer):
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(folder)
    trainer.train()
    return folder, trainer


@pytest.fixture
def copy(run, tmp_path):
    """The folder of a run of four steps that was stopped after the third."""
    shutil.copytree(run[0], tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "checkpoint-4")
    return tmp_path / "copy"


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def rewrite(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))


def change_list(checkpoint: Path, **changes: object) -> None:
    files = json.loads((checkpoint / FILES).read_text())
    rewrite(checkpoint / FILES, {**files, **changes})


DAMAGES = {
    "mark": lambda checkpoint: (checkpoint / INCOMPLETE).write_text(""),
    "state is missing": lambda checkpoint: (checkpoint / STATE).unlink(),
    "state is cut off": lambda checkpoint: cut_off(checkpoint / STATE),
    "list is cut off": lambda checkpoint: cut_off(checkpoint / FILES),
    "weights are missing": lambda checkpoint: (checkpoint / "model.safetensors").unlink(),
    "optimizer is cut off": lambda checkpoint: cut_off(checkpoint / "optimizer.pt"),
    "state is a list": lambda checkpoint: rewrite(checkpoint / STATE, []),
    "state is null": lambda checkpoint: rewrite(checkpoint / STATE, None),
    "state has no step": lambda checkpoint: rewrite(checkpoint / STATE, {"max_steps": 4}),
    "step is text": lambda checkpoint: rewrite(checkpoint / STATE, {"global_step": "3", "max_steps": 4}),
    "state is not text": lambda checkpoint: (checkpoint / STATE).write_bytes(b"\xff\xfe\x00{}"),
    "list is empty": lambda checkpoint: (checkpoint / FILES).write_text(""),
    "list is an empty object": lambda checkpoint: rewrite(checkpoint / FILES, {}),
    "list is a list": lambda checkpoint: rewrite(checkpoint / FILES, []),
    "list is a number": lambda checkpoint: rewrite(checkpoint / FILES, 3),
    "list is a folder": lambda checkpoint: ((checkpoint / FILES).unlink(), (checkpoint / FILES).mkdir()),
    "sizes are a list": lambda checkpoint: change_list(checkpoint, sizes=["model.safetensors"]),
    "sizes are none": lambda checkpoint: change_list(checkpoint, sizes={}),
    "a size is text": lambda checkpoint: change_list(checkpoint, sizes={STATE: "many"}),
    "a size is negative": lambda checkpoint: change_list(checkpoint, sizes={STATE: -1}),
    "checksums are null": lambda checkpoint: change_list(checkpoint, checksums=None),
    "checksums are of other files": lambda checkpoint: change_list(checkpoint, checksums={"model.bin": 1}),
    "order is text": lambda checkpoint: change_list(checkpoint, order="3"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_incomplete_checkpoint_is_skipped_with_a_message(copy, damage):
    DAMAGES[damage](copy / "checkpoint-3")
    messages = []
    assert last_checkpoint(copy, messages.append) == str(copy / "checkpoint-2")
    assert len(messages) == 1
    assert f"Skipping {copy / 'checkpoint-3'}: it" in messages[0]


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "place_in_run_0.pt", "config.json",
        "training_args.bin", IDENTITY,
    ],
)  # fmt: skip
def test_flipped_bit_is_found_in_the_checkpoint_that_is_used(copy, name, caplog):
    flip_a_bit(copy / "checkpoint-3" / name)
    flip_a_bit(copy / "checkpoint-1" / name)
    PartialState()
    assert last_checkpoint(copy) == str(copy / "checkpoint-3"), "it looks only when a checkpoint is about to be used"
    read = []
    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "checksum", lambda file: read.append(file.parent.name) or checksum(file))
        assert resolve_checkpoint(str(copy), "last") == str(copy / "checkpoint-2")
    assert f"checkpoint-3: its file {name} is damaged" in caplog.text
    assert set(read) == {"checkpoint-3", "checkpoint-2"}
    with pytest.raises(ValueError, match=rf"checkpoint-3: its file {name} is damaged.* there: .*checkpoint-2"):
        resolve_checkpoint(str(copy), str(copy / "checkpoint-3"))


def test_file_that_the_disk_does_not_give_back_is_passed_over(copy, monkeypatch, caplog):
    def read(file: Path) -> int:
        if file == copy / "checkpoint-3" / "optimizer.pt":
            raise OSError(5, "Input/output error")
        return checksum(file)

    monkeypatch.setattr(folder, "checksum", read)
    PartialState()
    with caplog.at_level(logging.WARNING):
        assert resolve_checkpoint(str(copy), True) == str(copy / "checkpoint-2")
    assert "its file optimizer.pt cannot be read: Input/output error" in caplog.text


def test_list_of_0_7_0_without_checksums_is_valid(copy):
    for checkpoint in copy.glob("checkpoint-*"):
        sizes = json.loads((checkpoint / FILES).read_text())["sizes"]
        rewrite(checkpoint / FILES, {"written": 1e9 / int(checkpoint.name[-1]), "sizes": sizes})
    assert last_checkpoint(copy, verify=True) == str(copy / "checkpoint-3")


FUTURE = 4e9  # the year 2096


def test_checkpoint_from_the_future_does_not_cost_a_new_one(copy, make_trainer):
    for path in [copy / "checkpoint-2", *(copy / "checkpoint-2").iterdir()]:
        os.utime(path, (FUTURE, FUTURE))
    shutil.rmtree(copy / "checkpoint-3")
    make_trainer(copy, save_total_limit=1).train("last")
    assert [path.name for path in copy.glob("checkpoint-*")] == ["checkpoint-4"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_steps_below_those_of_an_abandoned_future_are_the_newest(run, make_trainer, tmp_path, limit):
    """A run of four steps is taken up again after the first, and killed after the second."""
    other = shutil.copytree(run[0], tmp_path / "other")

    class Killed(PrefixGRPOTrainer):
        def training_step(self, *args, **kwargs):
            if self.state.global_step == 2:
                raise KeyboardInterrupt
            return super().training_step(*args, **kwargs)

    with pytest.raises(KeyboardInterrupt):
        make_trainer(other, Killed, save_total_limit=limit).train(str(other / "checkpoint-1"))
    assert last_checkpoint(other) == str(other / "checkpoint-2")
    kept = {1: ["2"], 2: ["2", "4"], 3: ["2", "3", "4"]}
    assert sorted(path.name[11:] for path in other.glob("checkpoint-*")) == kept[limit]


def test_best_checkpoint_is_kept_and_an_incomplete_one_goes_first(copy):
    (copy / "checkpoint-3" / INCOMPLETE).write_text("")
    folder.delete_oldest(copy, 2, str(copy / "checkpoint-1"))
    assert sorted(path.name for path in copy.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    folder.delete_oldest(copy, 1, str(copy / "checkpoint-1"))
    folder.delete_oldest(copy, None, None)
    folder.delete_oldest(copy, 0, None)
    assert sorted(path.name for path in copy.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    folder.delete_oldest(copy, 1, None)
    assert sorted(path.name for path in copy.glob("checkpoint-*")) == ["checkpoint-2"]


def test_run_resumes_before_the_broken_checkpoint_and_writes_it_anew(
    run, copy, make_trainer, assert_same_weights, caplog
):
    broken = copy / "checkpoint-3"
    cut_off(broken / "optimizer.pt")
    (broken / "rng_state_7.pth").write_text("of eight processes")
    (broken / "global_step3").mkdir()
    trainer = make_trainer(copy)
    with caplog.at_level(logging.WARNING):
        trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-3: its file optimizer.pt has" in caplog.text
    assert f"Resuming from {copy / 'checkpoint-2'}" in caplog.text
    assert_same_weights(trainer, run[1])
    assert why_incomplete(broken) is None, "it was not written again"
    assert not (broken / "rng_state_7.pth").exists()
    assert not (broken / "global_step3").exists()


def test_requested_checkpoint_that_is_incomplete_is_refused_and_a_complete_one_named(copy):
    (copy / "checkpoint-3" / INCOMPLETE).write_text("")
    with pytest.raises(ValueError, match=r"checkpoint-3: it was not written to its end.*checkpoint-2"):
        resolve_checkpoint(str(copy), str(copy / "checkpoint-3"))
    with pytest.raises(ValueError, match="there is no such folder"):
        resolve_checkpoint(str(copy), str(copy / "checkpoint-7"))


@pytest.mark.parametrize("requested", [True, "True", "true"])
def test_true_needs_a_checkpoint_but_last_does_not(tmp_path, make_trainer, requested):
    trainer = make_trainer(tmp_path)  # accelerate's state, for the message
    with pytest.raises(ValueError, match="holds no complete checkpoint"):
        trainer.train(resume_from_checkpoint=requested)
    assert [resolve_checkpoint(str(tmp_path), other) for other in ("last", None, "False")] == [None] * 3


def test_last_checkpoint_is_the_newest_though_an_older_run_got_further(run, make_trainer, tmp_path):
    shutil.copytree(run[0], tmp_path / "older")
    make_trainer(tmp_path / "older", max_steps=2).train()
    assert last_checkpoint(tmp_path / "older") == str(tmp_path / "older" / "checkpoint-2")


def test_hub_gets_complete_checkpoints_and_settings_are_saved_as_given(tmp_path, make_trainer, monkeypatch):
    pushed = []
    monkeypatch.setattr(
        PrefixGRPOTrainer, "_push_from_checkpoint", lambda self, folder: pushed.append(why_incomplete(Path(folder)))
    )
    trainer = make_trainer(tmp_path, save_total_limit=2, max_steps=2)
    trainer.args.push_to_hub = True
    trainer.train()
    assert pushed == [None, None]
    assert torch.load(tmp_path / "checkpoint-2" / "training_args.bin", weights_only=False).save_total_limit == 2


def test_checkpoint_without_optimizer_resumes_with_a_warning(tmp_path, make_trainer, caplog):
    make_trainer(tmp_path, save_only_model=True, max_steps=2).train()
    with caplog.at_level(logging.WARNING):
        make_trainer(tmp_path, max_steps=3).train("last")
    assert "optimizer and learning rate start afresh" in caplog.text


@pytest.mark.parametrize("file", [INCOMPLETE, FILES])
def test_disk_without_room_for_the_smallest_file_is_reported(copy, make_trainer, monkeypatch, file):
    write = Path.write_text

    def without_room(path: Path, *args, **kwargs):
        if path.name == file:
            raise OSError(28, "No space left on device")
        return write(path, *args, **kwargs)

    trainer = make_trainer(copy)
    monkeypatch.setattr(Path, "write_text", without_room)
    with pytest.raises(RuntimeError, match=r"No space left on device.*checkpoint-3\..*make room"):
        trainer.train("last")
    assert last_checkpoint(copy) == str(copy / "checkpoint-3")


@pytest.mark.parametrize(
    "settings",
    [
        {"save_strategy": "steps", "save_steps": 1, "load_best_model_at_end": True, "save_total_limit": 1},
        {"save_strategy": "best"},
        {"save_strategy": "epoch", "eval_strategy": "epoch"},
        {"save_strategy": "no"},
    ],
    ids=lambda settings: settings["save_strategy"],
)
def test_stopped_run_leaves_a_checkpoint_however_it_is_set_to_save(tmp_path, make_trainer, settings):
    evaluated, saved = [], []
    best = {"metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 1, "greater_is_better": False}

    class Recording(PrefixGRPOTrainer):
        def training_step(self, *args, **kwargs):
            if self.state.global_step == 2:
                signal.raise_signal(signal.SIGTERM)
            return super().training_step(*args, **kwargs)

        def evaluate(self, *args, **kwargs):
            evaluated.append(self.state.global_step)
            metrics = {"eval_loss": float(self.state.global_step)}  # the first is the best
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def _save_checkpoint(self, model, trial):
            saved.append(self.state.global_step)
            super()._save_checkpoint(model, trial)

    trainer = make_trainer(tmp_path, Recording, **{"max_steps": 9, **best, **settings})
    with StopOnSignal(trainer) as stop:
        trainer.train()
    assert stop.signal == signal.SIGTERM
    assert saved.count(3) == 1
    assert 3 not in evaluated
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")


def test_checkpoint_of_another_trainer_without_a_list_of_files_counts_as_complete(copy):
    for file in copy.glob(f"*/{FILES}"):
        file.unlink()
    assert last_checkpoint(copy) == str(copy / "checkpoint-3")


def test_older_checkpoint_is_deleted_only_when_the_new_one_is_complete(tmp_path, make_trainer, monkeypatch):
    present = []

    def note_and_mark(folder: Path) -> None:
        present.append(sorted(path.name for path in tmp_path.glob("checkpoint-*")))
        mark_complete(folder)

    monkeypatch.setattr(checkpoints, "mark_complete", note_and_mark)
    make_trainer(tmp_path, save_total_limit=1, max_steps=3).train()
    assert present == [["checkpoint-1"], ["checkpoint-1", "checkpoint-2"], ["checkpoint-2", "checkpoint-3"]]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]


@pytest.fixture
def limit_file_size():
    """Makes the system refuse to write files above a number of bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [100_000, 2_000_000], ids=["weights", "optimizer"])
def test_full_disk_ends_the_run_with_advice_and_a_complete_checkpoint(copy, make_trainer, limit_file_size, size):
    trainer = make_trainer(copy)
    limit_file_size(size)
    with pytest.raises(RuntimeError, match=r"checkpoint-4 could not be written: .*checkpoint-3\..*make room"):
        trainer.train("last")
    limit_file_size(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert "it was not written to its end" in why_incomplete(copy / "checkpoint-4")
    assert last_checkpoint(copy) == str(copy / "checkpoint-3")


def test_sft_saves_complete_checkpoints_too(tmp_path):
    rows = lab.load_dataset("train", 16).select_columns(["prompt", "completion"])
    args = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=2, save_steps=1)
    CountingSFTTrainer(lab.base_model_path(), args, train_dataset=rows).train("last")
    assert json.loads((tmp_path / "checkpoint-2" / FILES).read_text())["sizes"]["model.safetensors"] > 1e6
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
