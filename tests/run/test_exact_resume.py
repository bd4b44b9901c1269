"""Runs resumed within a generation batch, in a later epoch, and under other settings."""

import logging
import shutil

import pytest
import torch

from prefix_rft_trl.run import exact_resume
from prefix_rft_trl.run.folder import FILES


def reward_of_some(prompts, completions, **others):
    """Equal for all rollouts of every other prompt or so, which are then left out of the passes."""
    pairs = zip(prompts, completions, strict=True)
    return [sum(map(ord, text)) % 11 / 10 if sum(map(ord, prompt)) % 2 else 0.5 for prompt, text in pairs]


# 16 rows and 4 steps on each generation batch: the second epoch begins after step 8
LONG = {
    "gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2, "max_steps": 10,
    "reward_funcs": reward_of_some,
}  # fmt: skip


@pytest.fixture(scope="module")
def long_run(tmp_path_factory, make_trainer):
    folder = tmp_path_factory.mktemp("long")
    trainer = make_trainer(folder, **LONG)
    trainer.train()
    return folder, trainer


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8, 9])
def test_resumed_run_equals_an_unbroken_one(long_run, make_trainer, assert_same_weights, tmp_path, step):
    folder, expected = long_run
    trainer = make_trainer(tmp_path, **LONG)
    trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))
    assert_same_weights(trainer, expected)
    found, after = (
        [
            {name: value for name, value in log.items() if name != "step_time"}
            for log in run.state.log_history
            if log["step"] > step and "loss" in log
        ]
        for run in (trainer, expected)
    )
    assert found == after
    assert min(log.get("compute/rows", 1.0) for log in expected.state.log_history) < 1


def test_generation_batches_that_end_within_a_step_are_resumed(make_trainer, assert_same_weights, tmp_path):
    cut = {**LONG, "steps_per_generation": 3, "max_steps": 4, "per_device_train_batch_size": 4}
    unbroken = make_trainer(tmp_path / "unbroken", **cut)
    unbroken.train()
    for step in (1, 2):
        resumed = make_trainer(tmp_path / "resumed", **cut)
        resumed.train(str(tmp_path / "unbroken" / f"checkpoint-{step}"))
        assert_same_weights(resumed, unbroken)


def test_metrics_since_the_last_log_are_in_the_next_one(make_trainer, tmp_path):
    settings = {"logging_steps": 4, "save_steps": 2, "max_steps": 4}
    unbroken = make_trainer(tmp_path / "unbroken", **settings)
    unbroken.train()
    resumed = make_trainer(tmp_path / "resumed", **settings)
    resumed.train(str(tmp_path / "unbroken" / "checkpoint-2"))
    expected, found = unbroken.state.log_history[0], resumed.state.log_history[0]
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
def test_generation_batch_of_another_layout_is_sampled_again_with_a_warning(
    long_run, make_trainer, tmp_path, caplog, changes
):
    checkpoint = long_run[0] / "checkpoint-3"
    assert len(torch.load(checkpoint / "place_in_run_0.pt", weights_only=True)["generation_batch"]) == 4
    trainer = make_trainer(tmp_path, **{**LONG, **changes})
    with caplog.at_level(logging.WARNING):
        trainer.train(str(checkpoint))
    assert "The rest of its generation batch is sampled again" in caplog.text
    assert trainer.state.global_step == 10
    assert trainer._step == 10 * trainer.args.gradient_accumulation_steps
    assert {len(batch["prompt_ids"]) for batch in trainer._buffered_inputs} == {
        trainer.args.per_device_train_batch_size
    }


def test_checkpoint_without_its_place_in_the_run_resumes_with_a_warning(long_run, make_trainer, tmp_path, caplog):
    checkpoint = shutil.copytree(long_run[0] / "checkpoint-3", tmp_path / "checkpoint-3")
    (checkpoint / FILES).unlink()
    (checkpoint / "place_in_run_0.pt").unlink()
    trainer = make_trainer(tmp_path, **LONG)
    with caplog.at_level(logging.WARNING):
        trainer.train(str(checkpoint))
    assert "made with an unknown layout" in caplog.text


def test_checkpoint_between_generation_batches_holds_none(long_run):
    for step in range(1, 11):
        place = torch.load(long_run[0] / f"checkpoint-{step}" / "place_in_run_0.pt", weights_only=True)
        assert (place["generation_batch"] is None) == (step % 4 == 0)
        assert place["micro_step"] == 2 * step


def test_shuffles_of_past_epochs_are_replayed():
    class Sampler:
        shuffle, num_samples = True, 50
        generator = torch.Generator().manual_seed(1)

    expected = torch.Generator().manual_seed(1)
    for _ in range(3):
        torch.randperm(50, generator=expected)
    exact_resume.replay_shuffles(Sampler, 3)
    assert torch.equal(Sampler.generator.get_state(), expected.get_state())
    exact_resume.replay_shuffles(object(), 3)
