"""Advantages, the loss and its gradient, against a computation a token at a time."""

import numpy as np
import pytest
import torch

from prefix_rft_trl import lab


# Advantages


def expected_advantages(estimator, rewards, hybrid):
    of_prefix, of_continuation = [], []
    for start in range(0, len(rewards), 4):
        group = range(start, start + 4)
        mean_of_all = sum(rewards[row] for row in group) / 4
        on_policy = [rewards[row] for row in group if not hybrid[row]]
        mean = sum(on_policy) / len(on_policy)
        for row in group:
            reward = rewards[row]
            if estimator == "group":
                pair = reward - mean_of_all, reward - mean_of_all
            elif estimator == "on_policy" or not hybrid[row]:
                pair = reward - mean, reward - mean
            elif estimator == "dr_grpo_prefix":
                pair = reward - mean, reward
            else:
                pair = -mean, 0.0
            of_prefix.append(pair[0])
            of_continuation.append(pair[1])
    return of_prefix, of_continuation


@pytest.mark.parametrize("estimator", ["group", "on_policy", "dr_grpo_prefix", "dr_grpo_prefix_v2"])
def test_advantages_are_those_of_the_estimator(make_trainer, record, estimator):
    given = []

    def recorded_reward(completions, **kwargs):
        given.append([len(text) % 5 / 4 for text in completions])
        return given[-1]

    # Half of the prompts have no demonstration: their first rollout counts in the mean of the on-policy ones
    dataset = lab.load_dataset("train", 16)
    dataset = dataset.add_column("demonstration", [t if i % 2 else None for i, t in enumerate(dataset["completion"])])
    trainer = make_trainer(
        reward_funcs=recorded_reward,
        train_dataset=dataset,
        demonstration_column="demonstration",
        prefix_advantage=estimator,
        num_prefix_generations=2,
        per_device_train_batch_size=16,
    )
    generations = record(trainer)
    trainer.train()
    for rewards, generation in zip(given, generations, strict=True):
        hybrid = [row % 4 < 2 and row_in["demonstration"] is not None for row, row_in in enumerate(generation.inputs)]
        assert 0 < sum(hybrid) < 8
        assert [length > 0 for length in generation.prefix_lengths] == hybrid
        of_prefix, of_continuation = expected_advantages(estimator, rewards, hybrid)
        advantages, prefix_advantages = generation.outputs["advantages"], generation.outputs["prefix_advantages"]
        torch.testing.assert_close(advantages, torch.tensor(of_continuation))
        assert prefix_advantages[hybrid].tolist() == pytest.approx(
            [advantage for advantage, is_hybrid in zip(of_prefix, hybrid, strict=True) if is_hybrid]
        )


# The loss


def kept_tokens(selection, quantile, entropies, lengths):
    entropies = entropies.detach().numpy() * (-1 if selection == "bottom_entropy" else 1)
    of_rows = {row: entropies[row, :length] for row, length in enumerate(lengths) if length}
    of_all = np.quantile(np.concatenate(list(of_rows.values())), 1 - quantile)
    kept = set()
    for row, of_row in of_rows.items():
        threshold = np.quantile(of_row, 1 - quantile) if selection == "top_entropy_per_rollout" else of_all
        kept |= {(row, position) for position, entropy in enumerate(of_row) if entropy >= threshold}
    return kept


def expected_loss(args, logps, entropies, inputs):
    """The Dr. GRPO loss with beta (KL) and entropy bonus, a token at a time."""
    lengths = inputs["prefix_lengths"].tolist()
    ranked = inputs["prefix_noise"] if args.prefix_selection == "random" else entropies
    kept = set()
    if args.prefix_selection != "none":
        kept = kept_tokens(args.prefix_selection, args.prefix_top_entropy_quantile, ranked, lengths)
    old_logps, ref_logps = inputs.get("old_per_token_logps"), inputs.get("ref_per_token_logps")
    policy, kl, bonus = torch.zeros(()), torch.zeros(()), torch.zeros(())
    for row, position in inputs["completion_mask"].nonzero().tolist():
        in_prefix = position < lengths[row]
        logp, entropy = logps[row, position], entropies[row, position]
        if in_prefix and (row, position) not in kept:
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
def test_loss_and_gradient_are_those_of_the_paper_computed_token_by_token(
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
