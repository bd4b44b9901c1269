"""Checkpoints that are not whole, that cannot be written, and those of the middle of a generation batch."""

import json
import logging
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback
from trl import SFTConfig

from prefix_rft_trl import PrefixGRPOConfig, PrefixGRPOTrainer, lab
from prefix_rft_trl.run import checkpoints, exact_resume
from prefix_rft_trl.run.folder import FILES, INCOMPLETE, STATE, last_checkpoint, mark_complete, why_incomplete
from prefix_rft_trl.run.stopping import StopOnSignal
from prefix_rft_trl.sft import CountingSFTTrainer


SMALL = {
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True,
    "num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 20, "learning_rate": 1e-3,
    "max_steps": 4, "save_steps": 1, "logging_steps": 1,
}  # fmt: skip


def graded_reward(completions, **kwargs):
    return [sum(map(ord, completion)) % 11 / 10 for completion in completions]


def make_trainer(folder: Path, rows: int = 16, **settings) -> PrefixGRPOTrainer:
    args = PrefixGRPOConfig(str(folder), **{**SMALL, **settings})
    return PrefixGRPOTrainer(lab.base_model_path(), graded_reward, args, lab.load_dataset("train", rows))


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def assert_same_weights(found, expected) -> None:
    for name, weight in weights_of(expected).items():
        assert torch.equal(weights_of(found)[name], weight), name


@pytest.fixture(scope="module")
def run(tmp_path_factory):
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


DAMAGES = {
    "mark": lambda checkpoint: (checkpoint / INCOMPLETE).write_text(""),
    "state is missing": lambda checkpoint: (checkpoint / STATE).unlink(),
    "state is cut off": lambda checkpoint: cut_off(checkpoint / STATE),
    "list is cut off": lambda checkpoint: cut_off(checkpoint / FILES),
    "weights are missing": lambda checkpoint: (checkpoint / "model.safetensors").unlink(),
    "optimizer is cut off": lambda checkpoint: cut_off(checkpoint / "optimizer.pt"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_whole_is_passed_over_with_a_message(copy, damage):
    DAMAGES[damage](copy / "checkpoint-3")
    said = []
    assert last_checkpoint(copy, said.append) == str(copy / "checkpoint-2")
    assert len(said) == 1
    assert "checkpoint-3 is passed over: it" in said[0]


def test_a_run_goes_on_from_the_checkpoint_before_the_broken_one(run, copy, caplog):
    cut_off(copy / "checkpoint-3" / "optimizer.pt")
    trainer = make_trainer(copy)
    with caplog.at_level(logging.WARNING):
        trainer.train(resume_from_checkpoint=True)
    assert "checkpoint-3 is passed over: its file optimizer.pt has" in caplog.text
    assert f"Going on from {copy / 'checkpoint-2'}" in caplog.text
    assert_same_weights(trainer, run[1])
    assert why_incomplete(copy / "checkpoint-3") is None, "it was written again"


def test_a_broken_checkpoint_that_is_asked_for_is_refused_with_the_whole_one_beside_it(copy):
    (copy / "checkpoint-3" / INCOMPLETE).write_text("")
    with pytest.raises(ValueError, match=r"checkpoint-3: it was not written to its end.*checkpoint-2"):
        checkpoints.resolve_checkpoint(str(copy), str(copy / "checkpoint-3"))
    with pytest.raises(ValueError, match="there is no such folder"):
        checkpoints.resolve_checkpoint(str(copy), str(copy / "checkpoint-7"))


@pytest.mark.parametrize("asked_for", [True, "True", "true"])
def test_any_checkpoint_where_there_is_none_is_an_error_and_the_last_one_is_a_start(tmp_path, asked_for):
    trainer = make_trainer(tmp_path)  # accelerate's state, for the message
    with pytest.raises(ValueError, match="holds no whole checkpoint"):
        trainer.train(resume_from_checkpoint=asked_for)
    assert checkpoints.resolve_checkpoint(str(tmp_path), "last") is None
    assert checkpoints.resolve_checkpoint(str(tmp_path), None) is None
    assert checkpoints.resolve_checkpoint(str(tmp_path), "False") is None


def test_the_last_checkpoint_is_of_the_last_run_even_if_an_older_one_got_further(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "older")
    trainer = make_trainer(tmp_path / "older", max_steps=2)
    trainer.train()
    assert last_checkpoint(tmp_path / "older") == str(tmp_path / "older" / "checkpoint-2")


def test_what_an_earlier_checkpoint_has_left_in_a_folder_goes(copy):
    broken = copy / "checkpoint-3"
    (broken / INCOMPLETE).write_text("")
    (broken / "rng_state_7.pth").write_text("of eight processes")
    (broken / "global_step3").mkdir()
    make_trainer(copy).train("last")
    assert why_incomplete(broken) is None
    assert not (broken / "rng_state_7.pth").exists()
    assert not (broken / "global_step3").exists()


def test_settings_are_saved_as_they_were_given_and_the_hub_gets_whole_checkpoints(tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(
        PrefixGRPOTrainer, "_push_from_checkpoint", lambda self, folder: pushed.append(why_incomplete(Path(folder)))
    )
    trainer = make_trainer(tmp_path, save_total_limit=2, max_steps=2)
    trainer.args.push_to_hub = True
    trainer.train()
    assert pushed == [None, None]
    assert torch.load(tmp_path / "checkpoint-2" / "training_args.bin", weights_only=False).save_total_limit == 2


def test_a_checkpoint_of_the_model_alone_is_taken_with_a_warning(tmp_path, caplog):
    make_trainer(tmp_path, save_only_model=True, max_steps=2).train()
    with caplog.at_level(logging.WARNING):
        make_trainer(tmp_path, max_steps=3).train("last")
    assert "optimizer and learning rate start afresh" in caplog.text


@pytest.mark.parametrize("file", [INCOMPLETE, FILES])
def test_a_disk_without_room_for_the_smallest_file_says_so_too(copy, monkeypatch, file):
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
def test_a_stop_leaves_its_checkpoint_however_the_trainer_is_set_to_save(tmp_path, settings):
    evaluated, saved = [], []
    best = {"metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 1, "greater_is_better": False}
    args = PrefixGRPOConfig(str(tmp_path), **{**SMALL, "max_steps": 9, **best, **settings})

    class Stopped(PrefixGRPOTrainer):
        def evaluate(self, *args, **kwargs):
            evaluated.append(self.state.global_step)
            metrics = {"eval_loss": float(self.state.global_step)}  # the first is the best
            self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def _save_checkpoint(self, model, trial):
            saved.append(self.state.global_step)
            super()._save_checkpoint(model, trial)

    rows = lab.load_dataset("train", 16)
    trainer = Stopped(lab.base_model_path(), graded_reward, args, rows, eval_dataset=rows)
    stop = StopOnSignal(trainer)
    trainer.add_callback(AskAfter(stop, 3))
    trainer.train()
    assert stop.signal == signal.SIGTERM
    assert saved.count(3) == 1
    assert 3 not in evaluated
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-3")


class AskAfter(TrainerCallback):
    def __init__(self, stop: StopOnSignal, step: int):
        self.stop, self.step = stop, step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step - 1:
            self.stop._note(signal.SIGTERM, None)


def test_checkpoints_of_another_trainer_have_no_list_and_count_by_their_state(copy):
    (copy / "checkpoint-3" / FILES).unlink()
    assert last_checkpoint(copy) == str(copy / "checkpoint-3")


def test_an_older_checkpoint_is_deleted_only_when_the_new_one_is_whole(tmp_path, monkeypatch):
    there = []

    def close_and_look(folder: Path) -> None:
        there.append(sorted(path.name for path in tmp_path.glob("checkpoint-*")))
        mark_complete(folder)

    monkeypatch.setattr(checkpoints, "mark_complete", close_and_look)
    make_trainer(tmp_path, save_total_limit=1, max_steps=3).train()
    assert there == [["checkpoint-1"], ["checkpoint-1", "checkpoint-2"], ["checkpoint-2", "checkpoint-3"]]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3"]


@pytest.fixture
def no_file_above():
    """Lets the system refuse to write files above a number of bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [100_000, 2_000_000], ids=["weights", "optimizer"])
def test_a_full_disk_ends_the_run_with_what_to_do_and_the_last_checkpoint_whole(copy, no_file_above, size):
    trainer = make_trainer(copy)
    no_file_above(size)
    with pytest.raises(RuntimeError, match=r"checkpoint-4 could not be written: .*checkpoint-3\..*make room"):
        trainer.train("last")
    no_file_above(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    assert "it was not written to its end" in why_incomplete(copy / "checkpoint-4")
    assert last_checkpoint(copy) == str(copy / "checkpoint-3")


# In the middle of a generation batch, and in later epochs

WITHIN = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2, "max_steps": 10}


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """Of 16 rows and 4 steps a generation batch: its second epoch begins after step 8."""
    folder = tmp_path_factory.mktemp("long")
    trainer = make_trainer(folder, **WITHIN)
    trainer.train()
    return folder, trainer


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8, 9])
def test_a_run_goes_on_as_if_it_had_never_stopped(long_run, tmp_path, step):
    folder, expected = long_run
    trainer = make_trainer(tmp_path, **WITHIN)
    trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))
    assert_same_weights(trainer, expected)
    after = [log for log in expected.state.log_history if log["step"] > step and "loss" in log]
    found = [log for log in trainer.state.log_history if log["step"] > step and "loss" in log]
    timed = {"step_time"}
    assert [{k: v for k, v in log.items() if k not in timed} for log in found] == [
        {k: v for k, v in log.items() if k not in timed} for log in after
    ]


def test_metrics_since_the_last_log_are_in_the_next_one(tmp_path):
    settings = {"logging_steps": 4, "save_steps": 2, "max_steps": 4}
    whole = make_trainer(tmp_path / "whole", **settings)
    whole.train()
    resumed = make_trainer(tmp_path / "resumed", **settings)
    resumed.train(str(tmp_path / "whole" / "checkpoint-2"))
    expected, found = whole.state.log_history[0], resumed.state.log_history[0]
    for name in ("reward", "completions/mean_length", "prefix/length", "policy_entropy"):
        assert found[name] == pytest.approx(expected[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {"steps_per_generation": 8},
        {"steps_per_generation": 2},
        {"num_iterations": 1},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "steps_per_generation": 8},
    ],
    ids=str,
)
def test_under_another_layout_a_generation_batch_is_sampled_again_with_a_warning(long_run, tmp_path, caplog, changes):
    checkpoint = long_run[0] / "checkpoint-3"
    assert len(torch.load(checkpoint / "place_in_run_0.pt", weights_only=True)["generation_batch"]) == 4
    trainer = make_trainer(tmp_path, **{**WITHIN, **changes})
    with caplog.at_level(logging.WARNING):
        trainer.train(str(checkpoint))
    assert "What is left of a generation batch is sampled again" in caplog.text
    assert trainer.state.global_step == 10
    assert trainer._step == 10 * trainer.args.gradient_accumulation_steps
    assert {len(batch["prompt_ids"]) for batch in trainer._buffered_inputs} == {
        trainer.args.per_device_train_batch_size
    }


def test_a_checkpoint_that_does_not_say_its_place_is_taken_with_a_warning(long_run, tmp_path, caplog):
    checkpoint = tmp_path / "checkpoint-3"
    shutil.copytree(long_run[0] / "checkpoint-3", checkpoint)
    (checkpoint / FILES).unlink()
    (checkpoint / "place_in_run_0.pt").unlink()
    trainer = make_trainer(tmp_path, **WITHIN)
    with caplog.at_level(logging.WARNING):
        trainer.train(str(checkpoint))
    assert "made with an unknown layout" in caplog.text


def test_between_generation_batches_a_checkpoint_holds_none(long_run):
    for step in range(1, 11):
        place = torch.load(long_run[0] / f"checkpoint-{step}" / "place_in_run_0.pt", weights_only=True)
        assert (place["generation_batch"] is None) == (step % 4 == 0)
        assert place["micro_step"] == 2 * step


def test_orders_of_epochs_that_are_over_are_drawn_again():
    class Sampler:
        shuffle, num_samples = True, 50
        generator = torch.Generator().manual_seed(1)

    expected = torch.Generator().manual_seed(1)
    for _ in range(3):
        torch.randperm(50, generator=expected)
    exact_resume.shuffle_again(Sampler, 3)
    assert torch.equal(Sampler.generator.get_state(), expected.get_state())
    exact_resume.shuffle_again(object(), 3)


def test_sft_has_whole_checkpoints_as_well(tmp_path):
    rows = lab.load_dataset("train", 16).select_columns(["prompt", "completion"])
    args = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=2, save_steps=1)
    CountingSFTTrainer(lab.base_model_path(), args, train_dataset=rows).train("last")
    assert json.loads((tmp_path / "checkpoint-2" / FILES).read_text())["sizes"]["model.safetensors"] > 1e6
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
