"""The losses of LUFFY, UFT and reinforcement learning with an SFT loss, against the same written a token at a time."""

import pytest
import torch


LUFFY = {
    "num_prefix_generations": 1,
    "prefix_ratio_schedule": "whole",
    "prefix_loss_type": "shaped",
    "prefix_top_entropy_quantile": 1.0,
}
UFT = {
    "num_prefix_generations": 4,
    "prefix_shared_in_group": True,
    "prefix_ratio_distribution": "binomial",
    "prefix_ratio_high": 0.6,
    "prefix_ratio_decay_steps": 300,
    "prefix_loss_type": "cross_entropy",
    "prefix_loss_coef": 0.001,
    "prefix_top_entropy_quantile": 1.0,
}
RL_WITH_SFT_LOSS = {
    "num_prefix_generations": 1,
    "prefix_ratio_schedule": "whole",
    "prefix_loss_type": "cross_entropy",
    "prefix_loss_coef": 0.3,
    "prefix_advantage": "on_policy",
    "prefix_top_entropy_quantile": 1.0,
}
BASELINES = {"LUFFY": LUFFY, "UFT": UFT, "RL with SFT loss": RL_WITH_SFT_LOSS}
CLIP, BUDGET, GROUP = 0.2, 40, 4


def eighths(text: str) -> float:
    return sum(map(ord, text)) % 8 / 8


def reward_in_eighths(completions, **kwargs):
    return [eighths(text) for text in completions]


@pytest.fixture
def one_batch(make_double_trainer, train, completion_scores):
    """A trainer, its first generation batch of 4 groups, and what the policy thinks of each token of it."""

    def generate(stale=False, **settings):
        trainer = make_double_trainer(
            reward_funcs=reward_in_eighths,
            **{"max_steps": 1, "per_device_train_batch_size": 16, "learning_rate": 0.0, **settings},
        )
        generation = train(trainer=trainer).generation
        logps, _ = completion_scores(trainer.model, generation.outputs)
        if stale:
            noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            generation.outputs["old_per_token_logps"] = logps.detach() + 0.3 * noise
        return trainer, generation, logps

    return generate


class Rewards(list):
    """The rewards of a generation batch, and for each rollout the mean of those in its group that are counted."""

    def __init__(self, trainer, generation, counted=lambda row: True):
        texts = trainer._tokenizer.batch_decode(generation.completion_ids, skip_special_tokens=True)
        super().__init__(eighths(text) for text in texts)
        groups = [range(start, start + GROUP) for start in range(0, len(self), GROUP)]
        counted_rewards = [[self[row] for row in group if counted(row)] for group in groups]
        self.means = [sum(group) / len(group) for group in counted_rewards for _ in range(GROUP)]
        self.advantages = [reward - mean for reward, mean in zip(self, self.means, strict=True)]
        self.scale = -1 / (len(self) * BUDGET)


def tokens_of(generation, logps):
    """(row, whether the demonstration's, log-probability, that of the sampling policy) of each token."""
    old_logps = generation.outputs.get("old_per_token_logps", logps.detach())
    for row, (ids, length) in enumerate(zip(generation.completion_ids, generation.prefix_lengths, strict=True)):
        for position in range(len(ids)):
            yield row, position < length, logps[row, position], old_logps[row, position]


def clipped_surrogate(logp, old_logp, advantage):
    ratio = torch.exp(logp - old_logp)
    return torch.min(advantage * ratio, advantage * ratio.clamp(1 - CLIP, 1 + CLIP))


def on_policy_surrogate(generation, logps, rewards):
    """Of the tokens that are not the demonstration's."""
    return sum(
        clipped_surrogate(logp, old_logp, rewards.advantages[row])
        for row, of_demonstration, logp, old_logp in tokens_of(generation, logps)
        if not of_demonstration
    )


def is_sampled(row):
    return row % GROUP > 0


@pytest.mark.parametrize(("stale", "gamma"), [(False, 0.1), (True, 0.1), (False, 0.02), (False, 0.5)])
def test_luffy_trains_a_demonstration_with_the_shaped_ratio(one_batch, assert_loss_and_gradient, stale, gamma):
    trainer, generation, logps = one_batch(stale, **LUFFY, prefix_shaping_gamma=gamma)
    rewards = Rewards(trainer, generation)  # the demonstration's is one of its group
    objective = surrogate = on_policy_surrogate(generation, logps, rewards)
    for row, of_demonstration, logp, _ in tokens_of(generation, logps):
        if of_demonstration:
            advantage, probability = rewards.advantages[row], logp.exp()
            objective = objective + advantage * probability / (probability + gamma)
            surrogate = surrogate + advantage * probability * gamma / (probability + gamma) ** 2
    assert any(rewards.advantages[::GROUP])
    assert_loss_and_gradient(trainer, generation.outputs, rewards.scale * objective, value=rewards.scale * surrogate)


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize(
    ("settings", "coefficient", "counted"),
    [(UFT, 0.001, lambda row: True), (RL_WITH_SFT_LOSS, 0.3, is_sampled)],
    ids=["UFT", "RL with SFT loss"],
)
def test_mean_cross_entropy_of_the_prefixes_is_added(
    one_batch, assert_loss_and_gradient, stale, settings, coefficient, counted
):
    trainer, generation, logps = one_batch(stale, **settings)
    rewards = Rewards(trainer, generation, counted)
    cross_entropies = [-logp for _, of_prefix, logp, _ in tokens_of(generation, logps) if of_prefix]
    if settings is UFT:
        assert len(set(generation.prefix_lengths)) > 2
    else:  # complete demonstrations, the end of sequence included
        texts = [row["completion"] for row in generation.inputs[::GROUP]]
        assert len(cross_entropies) == sum(len(trainer._tokenizer(text)["input_ids"]) + 1 for text in texts)
    policy_loss = rewards.scale * on_policy_surrogate(generation, logps, rewards)
    assert_loss_and_gradient(
        trainer, generation.outputs, policy_loss + coefficient * torch.stack(cross_entropies).mean()
    )


@pytest.mark.parametrize("coefficient", [0.001, 2.0])
def test_selection_by_entropy_takes_certain_tokens_out_of_the_cross_entropy(
    one_batch, assert_loss_and_gradient, completion_scores, coefficient
):
    settings = RL_WITH_SFT_LOSS | {"prefix_loss_coef": coefficient, "prefix_top_entropy_quantile": 0.5}
    trainer, generation, logps = one_batch(**settings)
    entropies = completion_scores(trainer.model, generation.outputs)[1].detach()
    prefix = [(row, place) for row, length in enumerate(generation.prefix_lengths) for place in range(length)]
    ranked = sorted(prefix, key=lambda where: entropies[where], reverse=True)
    assert len(prefix) % 2 == 0  # then the median lies between two tokens
    cross_entropy = -sum(logps[where] for where in ranked[: len(ranked) // 2]) / len(prefix)
    rewards = Rewards(trainer, generation, is_sampled)
    policy_loss = rewards.scale * on_policy_surrogate(generation, logps, rewards)
    assert_loss_and_gradient(trainer, generation.outputs, policy_loss + coefficient * cross_entropy)


def test_batch_without_any_prefix_has_a_cross_entropy_of_zero(one_batch, assert_loss_and_gradient):
    trainer, generation, logps = one_batch(**UFT | {"prefix_prompts": "failed"})  # none was tried yet
    assert not any(generation.prefix_lengths)
    rewards = Rewards(trainer, generation)
    surrogate = on_policy_surrogate(generation, logps, rewards)
    assert_loss_and_gradient(trainer, generation.outputs, rewards.scale * surrogate)


# Accumulation


@pytest.mark.parametrize("settings", BASELINES.values(), ids=BASELINES)
def test_how_a_batch_is_accumulated_does_not_change_the_step(make_double_trainer, unchanged_weights, settings):
    settings = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, **settings}
    found = []
    for parts in (1, 2):
        trainer = make_double_trainer(
            per_device_train_batch_size=16 // parts, gradient_accumulation_steps=parts, **settings
        )
        assert unchanged_weights(trainer, trainer.train) == []
        found.append(dict(trainer.model.named_parameters()))
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_each_step_of_a_generation_batch_has_its_share_of_the_cross_entropy(
    make_double_trainer, train, completion_scores
):
    trainer = make_double_trainer(
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),  # the cross-entropy is all of the loss
        learning_rate=0.0,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        **RL_WITH_SFT_LOSS,
    )
    generation = train(trainer=trainer).generation
    logps, _ = completion_scores(trainer.model, generation.outputs)
    cross_entropies = [-logp for _, of_demonstration, logp, _ in tokens_of(generation, logps) if of_demonstration]
    losses = [trainer.compute_loss(trainer.model, batch).item() for batch in trainer._buffered_inputs]
    assert len(losses) == 4  # two optimizer steps of two forward batches each
    assert sum(losses) == pytest.approx(2 * 0.3 * sum(cross_entropies).item() / len(cross_entropies), rel=1e-6)
