"""SFT that hands on the model at the plateau of its validation loss, for real, on the lab."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import TrainerCallback

from prefix_rft_trl import lab
from prefix_rft_trl.cli.launch.recipe import Recipe, load_recipe
from prefix_rft_trl.cli.launch.training_script import prepare_training
from prefix_rft_trl.cli.main import main
from prefix_rft_trl.run import read_curve
from prefix_rft_trl.run.folder import CANDIDATES
from prefix_rft_trl.run.plateau import steps_at_plateau
from prefix_rft_trl.sft import CountingSFTTrainer, DemonstrationSFTConfig
from prefix_rft_trl.utils.errors import UserError


LAB_SFT = Path(__file__).parents[2] / "recipes" / "lab" / "sft.yaml"
PLATEAU = ["--plateau_tolerance", "0.02", "--eval_strategy", "steps", "--eval_steps", "2"]
RISING = 0.05  # a learning rate with which the validation loss rises again


@pytest.mark.parametrize(
    ("losses", "tolerance", "expected"),
    [
        ({5: 1.0, 10: 0.5, 15: 0.4, 20: 0.9}, 0.0, [15]),
        ({5: 1.0, 10: 0.407, 15: 0.4, 20: 0.405}, 0.02, [10, 15]),
        ({5: 1.0, 10: 0.409, 15: 0.4}, 0.02, [15]),
        ({15: 0.4, 5: 0.4}, 0.0, [5]),
        ({5: 0.4, 10: 0.401, 15: 0.402}, 0.02, [5]),
        ({5: 0.0, 10: 0.1}, 0.5, [5]),
        ({5: 3.0}, 0.02, [5]),
        ({}, 0.02, []),
    ],
)
def test_steps_within_the_tolerance_of_the_smallest_loss(losses, tolerance, expected):
    assert steps_at_plateau(losses, tolerance) == expected


@given(st.lists(st.sampled_from([1.0, 1.01, 1.015, 1.02, 1.03, 1.05, 2.0]), min_size=1, max_size=8))
def test_they_are_all_that_can_be_handed_on_whatever_losses_follow(losses):
    def first(losses: list[float]) -> int:
        return next(step for step, loss in enumerate(losses) if loss <= 1.02 * min(losses))

    chosen = {first([*losses, following]) for following in (9.0, *(loss / 1.02 * 0.9999 for loss in losses), *losses)}
    chosen |= {first([*losses, loss / 1.02 * 1.0001]) for loss in losses}
    found = steps_at_plateau(dict(enumerate(losses)), 0.02)
    assert found[0] == first(losses)
    assert set(found) == chosen - {len(losses)}


@pytest.fixture
def make(tmp_path) -> Callable[..., CountingSFTTrainer]:
    """Makes a trainer that is evaluated after each step, by losses that are given."""

    def make(losses: list[float], folder: str = "run", stop_at: int = 0, **settings: Any) -> CountingSFTTrainer:
        rows = lab.load_dataset("train", 32).select_columns(["prompt", "completion"])
        args = DemonstrationSFTConfig(
            str(tmp_path / folder), use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=8,
            max_steps=len(losses), eval_strategy="steps", eval_steps=1, **{
                "plateau_tolerance": 0.1, "save_strategy": "no", **settings,
            },
        )  # fmt: skip
        trainer = CountingSFTTrainer(lab.base_model_path(), args, train_dataset=rows, eval_dataset=rows.take(2))
        trainer.weights = {}
        trainer.add_callback(ScriptedLosses(trainer, losses))
        trainer.callback_handler.callbacks.insert(0, trainer.callback_handler.callbacks.pop())
        if stop_at:
            trainer.add_callback(StopAt(trainer, stop_at))
        return trainer

    return make


class ScriptedLosses(TrainerCallback):
    """Replaces each validation loss by a given one, and keeps the weights that it is of."""

    def __init__(self, trainer: Any, losses: list[float]):
        self.trainer, self.losses = trainer, losses

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        loss = self.losses[state.global_step - 1]
        metrics["eval_loss"] = state.log_history[-1]["eval_loss"] = loss
        weights = self.trainer.model.state_dict()
        self.trainer.weights[state.global_step] = {name: weight.clone() for name, weight in weights.items()}


class StopAt(TrainerCallback):
    """Ends a run after a step, as a signal does."""

    def __init__(self, trainer: Any, step: int):
        self.trainer, self.step = trainer, step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.trainer.is_stopping = control.should_training_stop = True
            control.should_evaluate = False


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in trainer.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def handed_on(trainer: Any) -> list[int]:
    return [logs["handed_on_step"] for logs in trainer.state.log_history if "handed_on_step" in logs]


def losses_of(trainer: Any) -> list[tuple[int, float]]:
    return [(logs["step"], logs["eval_loss"]) for logs in trainer.state.log_history if "eval_loss" in logs]


def kept(trainer: Any) -> set[str]:
    return {path.name for path in Path(trainer.args.output_dir, CANDIDATES).glob("*")}


def test_the_first_model_at_the_plateau_is_handed_on(make, tmp_path, capsys):
    trainer = make([2.0, 1.05, 1.0, 1.2])
    trainer.train()
    assert handed_on(trainer) == [2]
    assert same(weights_of(trainer), trainer.weights[2])
    assert not same(weights_of(trainer), trainer.weights[4])
    assert not Path(trainer.args.output_dir, CANDIDATES).exists()
    assert "step 2 of 4 is handed on" in capsys.readouterr().out


def test_only_models_that_can_still_be_chosen_are_on_disk(make):
    trainer, found = make([2.0, 1.9, 1.05, 1.0, 1.02, 1.2, 0.5]), {}

    class Look(TrainerCallback):
        def on_evaluate(self, args, state, control, **kwargs):
            found[state.global_step] = kept(trainer)

    trainer.add_callback(Look())
    trainer.train()
    assert found == {
        1: {"step-1"},
        2: {"step-1", "step-2"},
        3: {"step-3"},
        4: {"step-3", "step-4"},
        5: {"step-3", "step-4"},
        6: {"step-3", "step-4"},
        7: {"step-7"},
    }
    assert handed_on(trainer) == [7]


@pytest.mark.parametrize("stop_at", [2, 3])
def test_a_stopped_run_hands_on_what_an_unbroken_one_does(make, stop_at):
    losses = [2.0, 1.0, 1.05, 0.95, 1.2]
    unbroken = make(losses, "unbroken")
    unbroken.train()
    assert handed_on(unbroken) == [2]
    stopped = make(losses, stop_at=stop_at)
    stopped.train()
    assert not handed_on(stopped)
    resumed = make(losses)
    resumed.train("last")
    assert handed_on(resumed) == handed_on(unbroken)
    assert same(weights_of(resumed), weights_of(unbroken))
    assert losses_of(resumed) == losses_of(unbroken)


def test_a_model_stays_while_a_checkpoint_could_hand_it_on(make):
    """The smallest loss falls after the checkpoint, and the run is resumed from it with another one."""
    settings = {"save_strategy": "steps", "save_steps": 2}
    first = make([1.0, 1.05, 0.1], **settings)
    first.train()
    assert handed_on(first) == [3]
    assert "step-1" in kept(first)
    resumed = make([1.0, 1.05, 1.02, 1.3], **settings)
    resumed.train(str(Path(first.args.output_dir, "checkpoint-2")))
    assert handed_on(resumed) == [1]
    assert same(weights_of(resumed), first.weights[1])


def test_a_resumed_run_without_the_model_of_a_candidate_is_refused(make):
    make([1.0, 1.05, 1.2], stop_at=2, save_strategy="steps", save_steps=1).train()
    resumed = make([1.0, 1.05, 1.2], "elsewhere")
    with pytest.raises(ValueError, match=r"may hand on the model of step 1, and .*step-1 is not there"):
        resumed.train(resumed.args.output_dir.replace("elsewhere", "run") + "/checkpoint-2")


def test_leftovers_of_a_killed_run_are_not_handed_on(make):
    trainer = make([2.0, 1.0])
    left = Path(trainer.args.output_dir, CANDIDATES)
    for name in ("step-1", "step-7", "partial"):
        (left / name).mkdir(parents=True)
        (left / name / "model.safetensors").write_text("cut off")
    trainer.train()
    assert same(weights_of(trainer), trainer.weights[2])
    assert not left.exists()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused(make, loss):
    with pytest.raises(ValueError, match="evaluation at step 1 gave"):
        make([loss, 1.0]).train()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"eval_strategy": "no"}, "`eval_strategy: steps`, found 'no'"),
        ({"eval_strategy": "epoch"}, "`eval_strategy: steps`, found 'epoch'"),
        ({"plateau_tolerance": -0.1}, "`plateau_tolerance` must be from 0 to 1, found -0.1"),
        ({"plateau_tolerance": "much"}, "plateau_tolerance"),
        ({"load_best_model_at_end": True, "save_steps": 2}, "both say which model"),
    ],
)
def test_settings_that_give_no_plateau_are_refused(settings, says, tmp_path):
    given = {"plateau_tolerance": 0.02, "eval_strategy": "steps", "eval_steps": 2, **settings}
    with pytest.raises(ValueError) as error:  # noqa: PT011
        DemonstrationSFTConfig(str(tmp_path), use_cpu=True, bf16=False, **given)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("split", "says"),
    [("train[8:]", "`dataset_test_split` is 'train[8:]'"), ("validation", "no split 'validation'")],
)
def test_a_plateau_is_not_judged_on_what_is_trained(split, says, tmp_path):
    recipe = Recipe(load_recipe(LAB_SFT), [*PLATEAU, "--dataset_test_split", split, "--output_dir", str(tmp_path)])
    with pytest.raises(UserError) as error:
        prepare_training(*recipe.parse())
    assert says in str(error.value)


def test_a_plateau_is_of_sft(tmp_path, capsys):
    line = ["--config", str(LAB_SFT), "--output_dir", str(tmp_path / "run"), *PLATEAU, "--trainer", "prefix_grpo"]
    assert main(["train", *line]) == 2
    assert "It is a setting of `trainer: sft`." in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_the_next_stage_and_its_curve_start_from_the_model_that_is_handed_on(tmp_path, capsys):
    """A learning rate with which the loss rises again; the model is compared with one that was trained up to there."""
    folder = tmp_path / "run"
    shared = {
        "model_name_or_path": "lab", "dataset_name": "lab", "reward_funcs": ["lab_exact_answer"], "use_cpu": True,
        "bf16": False, "report_to": "none", "save_strategy": "no", "logging_steps": 1, "measure_steps": 3,
        "measure_rows": 16, "measure_max_new_tokens": 40, "per_device_train_batch_size": 8, "output_dir": str(folder),
    }  # fmt: skip
    sft = {"trainer": "sft", "max_steps": 4, "learning_rate": RISING, "lr_scheduler_type": "constant"}
    sft |= {"eval_strategy": "steps", "eval_steps": 2, "dataset_test_split": "test[16:48]", "plateau_tolerance": 0.02}
    sampling = {"num_generations": 4, "num_prefix_generations": 0, "max_completion_length": 8}
    stages = {"sft": sft, "rft": {"max_steps": 1, "learning_rate": 0.0, **sampling}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**shared, "stages": stages}, sort_keys=False))
    assert main(["train", "--config", str(recipe)]) == 0
    history = json.loads((folder / "sft" / "trainer_state.json").read_text())["log_history"]
    losses = {logs["step"]: logs["eval_loss"] for logs in history if "eval_loss" in logs}
    assert sorted(losses) == [2, 4]
    step = steps_at_plateau(losses, 0.02)[0]
    assert step == 2, losses
    assert "The model of step 2 of 4 is handed on" in capsys.readouterr().out
    handed = load_file(folder / "sft" / "model.safetensors")
    assert same(handed, load_file(folder / "model.safetensors"))  # the second stage learns nothing
    stage, after = read_curve(folder / "sft"), read_curve(folder)
    assert [line["step"] for line in stage] == [0, 3, 4]
    assert stage[-1]["handed_on_step"] == step
    for name in ("accuracy", "length", "demonstration_logp", "problem_rewards"):
        assert stage[-1][name] == after[0][name], name
    assert stage[-1]["trained_tokens"] > stage[-2]["trained_tokens"]
    assert f"| {step} | " in (folder / "sft" / "README.md").read_text()

    alone, own = tmp_path / "alone.yaml", tmp_path / "alone"
    short = {**sft, "plateau_tolerance": None, "max_steps": step, "measure_steps": 0, "output_dir": str(own)}
    alone.write_text(yaml.safe_dump({**shared, **short}))
    assert main(["train", "--config", str(alone)]) == 0
    assert same(handed, load_file(own / "model.safetensors"))
