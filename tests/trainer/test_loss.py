"""Advantages, the loss and its gradient, against a computation a token at a time."""

import numpy as np
import pytest
import torch

from prefix_rft_trl.method.advantages import ESTIMATORS


# Advantages


def expected_advantages(estimator, rewards, hybrid):
    """(prefix, continuation) of each rollout, in groups of four."""
    for start in range(0, len(rewards), 4):
        group = range(start, start + 4)
        on_policy = [rewards[row] for row in group if estimator == "group" or not hybrid[row]]
        mean = sum(on_policy) / len(on_policy)
        for row in group:
            reward = rewards[row]
            if estimator in ("group", "on_policy") or not hybrid[row]:
                yield reward - mean, reward - mean
            elif estimator == "dr_grpo_prefix":
                yield reward - mean, reward
            else:
                yield -mean, 0.0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_advantages_are_those_of_the_estimator(train, lab_rows, estimator):
    scored = []

    def record_rewards(completions, **kwargs):
        scored.append([len(text) % 5 / 4 for text in completions])
        return scored[-1]

    def place_reward(completions, **kwargs):
        return [float(row) for row, _ in enumerate(completions)]

    # Half of the prompts have no demonstration: their first rollout counts in the mean of the on-policy ones
    some = [text if place % 2 else None for place, text in enumerate(lab_rows()["completion"])]
    run = train(
        reward_funcs=[place_reward, record_rewards],
        reward_weights=[0.25, 2.0],
        train_dataset=lab_rows(demonstration=some),
        demonstration_column="demonstration",
        prefix_advantage=estimator,
        num_prefix_generations=2,
        per_device_train_batch_size=16,
    )
    for rewards, generation in zip(scored, run.generations, strict=True):
        hybrid = [place % 4 < 2 and bool(row["demonstration"]) for place, row in enumerate(generation.inputs)]
        assert 0 < sum(hybrid) < 8
        assert [length > 0 for length in generation.prefix_lengths] == hybrid
        totals = [0.25 * row + 2.0 * reward for row, reward in enumerate(rewards)]
        prefix, continuation = torch.tensor(list(expected_advantages(estimator, totals, hybrid))).T
        torch.testing.assert_close(generation.outputs["advantages"], continuation)
        torch.testing.assert_close(generation.outputs["prefix_advantages"][hybrid], prefix[hybrid])


# The loss


def selected_tokens(selection, quantile, entropies, lengths):
    entropies = entropies.detach().numpy() * (-1 if selection == "bottom_entropy" else 1)
    prefixes = {row: entropies[row, :length] for row, length in enumerate(lengths) if length}
    shared = np.quantile(np.concatenate(list(prefixes.values())), 1 - quantile)
    selected = set()
    for row, prefix in prefixes.items():
        threshold = np.quantile(prefix, 1 - quantile) if selection == "top_entropy_per_rollout" else shared
        selected |= {(row, position) for position, entropy in enumerate(prefix) if entropy >= threshold}
    return selected


def expected_loss(args, logps, entropies, inputs):
    """The Dr. GRPO loss with beta (KL) and entropy bonus, a token at a time."""
    lengths = inputs["prefix_lengths"].tolist()
    ranked = inputs["prefix_noise"] if args.prefix_selection == "random" else entropies
    selected = set()
    if args.prefix_selection != "none":
        selected = selected_tokens(args.prefix_selection, args.prefix_token_rule.quantile, ranked, lengths)
    old_logps, ref_logps = inputs.get("old_per_token_logps"), inputs.get("ref_per_token_logps")
    policy, kl, bonus = torch.zeros(()), torch.zeros(()), torch.zeros(())
    for row, position in inputs["completion_mask"].nonzero().tolist():
        in_prefix = position < lengths[row]
        logp, entropy = logps[row, position], entropies[row, position]
        if in_prefix and (row, position) not in selected:
            logp, entropy, advantage = logp.detach(), entropy.detach(), 0.0
        else:
            advantage = inputs["prefix_advantages" if in_prefix else "advantages"][row]
        ratio = torch.exp(logp - (logp.detach() if old_logps is None else old_logps[row, position]))
        if in_prefix and args.prefix_loss_type == "ppo_unclipped":
            policy = policy - advantage * ratio
        else:
            policy = policy - torch.min(advantage * ratio, advantage * ratio.clamp(0.8, 1.2))
        bonus = bonus + entropy
        if ref_logps is not None:
            difference = ref_logps[row, position] - logp
            kl = kl + (torch.exp(difference) - difference - 1) * ratio
    loss = (policy + args.beta * kl) / (len(lengths) * args.max_completion_length)
    return loss - args.entropy_coef * bonus / inputs["completion_mask"].sum()


@pytest.mark.parametrize(
    ("stale", "settings"),
    [
        (False, {}),
        (False, {"prefix_top_entropy_quantile": 0.5}),
        (False, {"prefix_top_entropy_quantile": 0.8}),
        (False, {"prefix_top_entropy_quantile": 1.0}),
        (False, {"prefix_selection": "top_entropy_per_rollout"}),
        (False, {"prefix_selection": "top_entropy_per_rollout", "prefix_top_entropy_quantile": 0.5}),
        (False, {"prefix_selection": "none"}),
        (False, {"prefix_selection": "bottom_entropy"}),
        (False, {"prefix_selection": "random"}),
        (False, {"prefix_advantage": "dr_grpo_prefix"}),
        (False, {"prefix_advantage": "dr_grpo_prefix_v2"}),
        (False, {"beta": 0.1, "entropy_coef": 0.1}),
        (False, {"beta": 0.1, "entropy_coef": 0.1, "prefix_selection": "none"}),
        (True, {}),
        (True, {"prefix_loss_type": "ppo_unclipped"}),
        (True, {"prefix_selection": "none"}),
        (True, {"prefix_loss_type": "ppo_unclipped", "prefix_advantage": "dr_grpo_prefix_v2"}),
    ],
    ids=str,
)
def test_loss_and_gradient_are_those_of_the_paper(
    make_double_trainer, completion_scores, assert_loss_and_gradient, stale, settings
):
    trainer = make_double_trainer(max_steps=1, num_prefix_generations=2, **settings)
    trainer.train()
    inputs = trainer._buffered_inputs[0]
    logps, entropies = completion_scores(trainer.model, inputs)
    if stale:
        noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(1))
        inputs["old_per_token_logps"] = logps.detach() + 0.5 * noise
    assert_loss_and_gradient(trainer, inputs, expected_loss(trainer.args, logps, entropies, inputs))
