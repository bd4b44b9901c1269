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
RIVALS = {"LUFFY": LUFFY, "UFT": UFT, "RL with SFT loss": RL_WITH_SFT_LOSS}
GAMMA, CLIP, BUDGET, GROUP = 0.1, 0.2, 40, 4


def eighths(text: str) -> float:
    return sum(map(ord, text)) % 8 / 8


def reward_in_eighths(completions, **kwargs):
    return [eighths(text) for text in completions]


@pytest.fixture
def one_batch(make_double_trainer, record, completion_scores):
    """A trainer, its first generation batch of 4 groups, and what the policy thinks of each token of it."""

    def generate(stale=False, **settings):
        trainer = make_double_trainer(
            reward_funcs=reward_in_eighths,
            **{"max_steps": 1, "per_device_train_batch_size": 16, "learning_rate": 0.0, **settings},
        )
        generations = record(trainer)
        trainer.train()
        generation = generations[0]
        logps, _ = completion_scores(trainer.model, generation.outputs)
        if stale:
            noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            generation.outputs["old_per_token_logps"] = logps.detach() + 0.3 * noise
        return trainer, generation, logps

    return generate


def rewards_of(trainer, generation):
    texts = trainer._tokenizer.batch_decode(generation.completion_ids, skip_special_tokens=True)
    return [eighths(text) for text in texts]


def means_of_groups(rewards, counted):
    """The mean of the rewards that count in a rollout's group, for each rollout."""
    groups = [range(start, start + GROUP) for start in range(0, len(rewards), GROUP)]
    counted_rewards = [[rewards[row] for row in group if counted[row]] for group in groups]
    means = [sum(of_group) / len(of_group) for of_group in counted_rewards]
    return [means[row // GROUP] for row in range(len(rewards))]


def tokens_of(generation, logps):
    """(row, whether the demonstration's, log-probability, that of the sampling policy) of each token."""
    old_logps = generation.outputs.get("old_per_token_logps", logps.detach())
    for row, (ids, length) in enumerate(zip(generation.completion_ids, generation.prefix_lengths, strict=True)):
        for position in range(len(ids)):
            yield row, position < length, logps[row, position], old_logps[row, position]


def clipped_surrogate(logp, old_logp, advantage):
    ratio = torch.exp(logp - old_logp)
    return torch.min(advantage * ratio, advantage * ratio.clamp(1 - CLIP, 1 + CLIP))


@pytest.mark.parametrize("stale", [False, True])
def test_luffy_trains_a_whole_demonstration_with_the_shaped_ratio(one_batch, assert_loss_and_gradient, stale):
    trainer, generation, logps = one_batch(stale, **LUFFY)
    rewards = rewards_of(trainer, generation)
    means = means_of_groups(rewards, counted=[True] * len(rewards))  # the demonstration's reward is one of them
    objective, surrogate = 0.0, 0.0
    for row, of_demonstration, logp, old_logp in tokens_of(generation, logps):
        advantage = rewards[row] - means[row]
        if of_demonstration:
            probability = logp.exp()
            objective = objective + advantage * probability / (probability + GAMMA)
            surrogate = surrogate + advantage * probability * GAMMA / (probability + GAMMA) ** 2
        else:
            objective = objective + clipped_surrogate(logp, old_logp, advantage)
            surrogate = surrogate + clipped_surrogate(logp, old_logp, advantage)
    scale = -1 / (len(rewards) * BUDGET)
    assert any(rewards[row] != means[row] for row in range(0, len(rewards), GROUP))
    assert_loss_and_gradient(trainer, generation.outputs, scale * objective, value=scale * surrogate)


@pytest.mark.parametrize("gamma", [0.02, 0.5])
def test_gamma_of_the_shaped_ratio_can_be_set(one_batch, assert_loss_and_gradient, gamma):
    trainer, generation, logps = one_batch(**LUFFY, prefix_shaping_gamma=gamma)
    rewards = rewards_of(trainer, generation)
    means = means_of_groups(rewards, counted=[True] * len(rewards))
    objective, surrogate = 0.0, 0.0
    for row, of_demonstration, logp, _ in tokens_of(generation, logps):
        advantage, probability, score = rewards[row] - means[row], logp.detach().exp(), logp - logp.detach()
        weight = advantage * (probability * gamma / (probability + gamma) ** 2 if of_demonstration else 1.0)
        objective, surrogate = objective + weight * score, surrogate + weight
    scale = -1 / (len(rewards) * BUDGET)
    assert_loss_and_gradient(trainer, generation.outputs, scale * objective, value=torch.as_tensor(scale * surrogate))


@pytest.mark.parametrize("stale", [False, True])
def test_uft_adds_a_thousandth_of_the_hints_mean_cross_entropy(one_batch, assert_loss_and_gradient, stale):
    trainer, generation, logps = one_batch(stale, **UFT)
    rewards = rewards_of(trainer, generation)
    means = means_of_groups(rewards, counted=[True] * len(rewards))
    surrogate, cross_entropies = 0.0, []
    for row, of_hint, logp, old_logp in tokens_of(generation, logps):
        if of_hint:
            cross_entropies.append(-logp)
        else:
            surrogate = surrogate + clipped_surrogate(logp, old_logp, rewards[row] - means[row])
    assert len(set(generation.prefix_lengths)) > 2
    policy_loss = -surrogate / (len(rewards) * BUDGET)
    expected = policy_loss + 0.001 * torch.stack(cross_entropies).mean()
    assert_loss_and_gradient(trainer, generation.outputs, expected)


@pytest.mark.parametrize("stale", [False, True])
def test_sft_loss_is_a_constant_times_the_mean_cross_entropy_of_demonstrations_that_no_group_counts(
    one_batch, assert_loss_and_gradient, stale
):
    trainer, generation, logps = one_batch(stale, **RL_WITH_SFT_LOSS)
    rewards = rewards_of(trainer, generation)
    sampled = [row % GROUP > 0 for row in range(len(rewards))]
    means = means_of_groups(rewards, counted=sampled)
    surrogate, cross_entropies = 0.0, []
    for row, _, logp, old_logp in tokens_of(generation, logps):
        if sampled[row]:
            surrogate = surrogate + clipped_surrogate(logp, old_logp, rewards[row] - means[row])
        else:  # all of it, the end of sequence included
            cross_entropies.append(-logp)
    demonstrations = [trainer._tokenizer(row["completion"])["input_ids"] for row in generation.inputs[::GROUP]]
    assert len(cross_entropies) == sum(len(ids) + 1 for ids in demonstrations)
    policy_loss = -surrogate / (len(rewards) * BUDGET)
    expected = policy_loss + 0.3 * torch.stack(cross_entropies).mean()
    assert_loss_and_gradient(trainer, generation.outputs, expected)


@pytest.mark.parametrize("coefficient", [0.001, 2.0])
def test_clipping_by_entropy_takes_the_demonstrations_certain_tokens_out_of_the_cross_entropy(
    one_batch, assert_loss_and_gradient, completion_scores, coefficient
):
    settings = RL_WITH_SFT_LOSS | {"prefix_loss_coef": coefficient, "prefix_top_entropy_quantile": 0.5}
    trainer, generation, logps = one_batch(**settings)
    entropies = completion_scores(trainer.model, generation.outputs)[1].detach()
    lengths = generation.prefix_lengths
    of_prefix = [(row, place) for row, length in enumerate(lengths) for place in range(length)]
    ranked = sorted(of_prefix, key=lambda where: entropies[where], reverse=True)
    kept = ranked[: len(ranked) // 2]
    assert len(of_prefix) % 2 == 0  # then the median lies between two tokens
    rewards = rewards_of(trainer, generation)
    means = means_of_groups(rewards, counted=[row % GROUP > 0 for row in range(len(rewards))])
    surrogate = sum(
        clipped_surrogate(logp, logp.detach(), rewards[row] - means[row])
        for row, of_demonstration, logp, _ in tokens_of(generation, logps)
        if not of_demonstration
    )
    cross_entropy = -sum(logps[where] for where in kept) / len(of_prefix)
    assert_loss_and_gradient(
        trainer, generation.outputs, -surrogate / (len(rewards) * BUDGET) + coefficient * cross_entropy
    )


# Accumulation


def weights_after_a_step(trainer):
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert all(not torch.equal(after[name], weight) for name, weight in before.items())
    return {name: weight.detach() for name, weight in after.items()}


@pytest.mark.parametrize("settings", RIVALS.values(), ids=RIVALS)
def test_how_a_batch_is_accumulated_does_not_change_the_step(make_double_trainer, settings):
    settings = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0, **settings}
    expected = weights_after_a_step(make_double_trainer(per_device_train_batch_size=16, **settings))
    in_parts = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    found = weights_after_a_step(make_double_trainer(**in_parts, **settings))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_each_step_of_a_generation_batch_has_its_share_of_the_cross_entropy(
    make_double_trainer, record, completion_scores
):
    trainer = make_double_trainer(
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),  # the cross-entropy is all of the loss
        learning_rate=0.0,
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        **RL_WITH_SFT_LOSS,
    )
    generations = record(trainer)
    trainer.train()
    (generation,) = generations
    logps, _ = completion_scores(trainer.model, generation.outputs)
    cross_entropies = [-logp for _, of_demonstration, logp, _ in tokens_of(generation, logps) if of_demonstration]
    losses = [trainer.compute_loss(trainer.model, batch).item() for batch in trainer._buffered_inputs]
    assert len(losses) == 4  # two optimizer steps of two forward batches each
    assert sum(losses) == pytest.approx(2 * 0.3 * sum(cross_entropies).item() / len(cross_entropies), rel=1e-6)


def test_batch_without_any_prefix_has_a_cross_entropy_of_zero(one_batch, assert_loss_and_gradient):
    trainer, generation, logps = one_batch(**UFT | {"prefix_prompts": "failed"})  # none was tried yet
    assert not any(generation.prefix_lengths)
    rewards = rewards_of(trainer, generation)
    means = means_of_groups(rewards, counted=[True] * len(rewards))
    surrogate = sum(
        clipped_surrogate(logp, old_logp, rewards[row] - means[row])
        for row, _, logp, old_logp in tokens_of(generation, logps)
    )
    assert_loss_and_gradient(trainer, generation.outputs, -surrogate / (len(rewards) * BUDGET))
