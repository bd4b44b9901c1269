"""The engine samples with the weights of the step: its log-probs are those of the policy that is trained."""

import random

import pytest


def random_reward(completions, **kwargs):
    draws = random.Random(0)
    return [draws.random() for _ in completions]


@pytest.fixture
def differences(make_trainer):
    """Between the log-probs of engine and policy, for each step."""

    def train(syncs: bool) -> list[float]:
        trainer = make_trainer(reward_funcs=random_reward, max_steps=4, learning_rate=3e-3)
        if not syncs:
            trainer.vllm_generation.sync_weights = lambda: None
        trainer.train()
        name = "sampling/sampling_logp_difference/mean"
        return [logs[name] for logs in trainer.state.log_history if name in logs]

    return train


def test_every_update_reaches_the_engine(differences):
    found = differences(syncs=True)
    assert len(found) == 4
    assert max(found) < 1e-5


def test_without_a_sync_the_difference_would_be_seen(differences):
    first, *later = differences(syncs=False)
    assert first < 1e-5
    assert max(later) > 0.02
