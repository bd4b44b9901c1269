"""What a loss decides by the tokens of a row or a batch is decided by sampled tokens, written out token by token."""

import math

import numpy as np
import pytest
import torch


@pytest.fixture
def assert_is(make_double_trainer, completion_scores, assert_loss_and_gradient):
    """Compares the loss of a trainer whose policy has moved since it sampled, and its gradient, with a formula."""

    def compare(expected, **settings):
        trainer = make_double_trainer(max_steps=1, num_prefix_generations=2, epsilon=0.1, **settings)
        trainer.train()
        inputs = trainer._buffered_inputs[0]
        logps, entropies = completion_scores(trainer.model, inputs)
        noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(1)).double()
        inputs["old_per_token_logps"] = logps.detach() + 0.4 * noise
        lengths = inputs["prefix_lengths"].tolist()
        tokens = [mask.nonzero().flatten().tolist() for mask in inputs["completion_mask"]]
        prefixes = [[at for at in row if at < length] for row, length in zip(tokens, lengths, strict=True)]
        sampled = [[at for at in row if at >= length] for row, length in zip(tokens, lengths, strict=True)]
        assert sum(map(len, prefixes)) > 10
        batch = Batch(trainer.args, inputs, logps, entropies, prefixes, sampled)
        assert_loss_and_gradient(trainer, inputs, expected(batch))

    return compare


class Batch:
    """A batch of the loss, and what is common to the formulas."""

    def __init__(self, args, inputs, logps, entropies, prefixes, sampled):
        self.args, self.inputs, self.logps, self.entropies = args, inputs, logps, entropies
        self.prefixes, self.sampled = prefixes, sampled
        self.log_ratios = logps - inputs["old_per_token_logps"]

    def clipped(self, ratio, advantage):
        return torch.min(ratio * advantage, ratio.clamp(0.9, 1.1) * advantage)

    def selected(self):
        """The share of the prefix tokens with the highest entropies."""
        found = {(row, at): self.entropies[row, at].item() for row, of in enumerate(self.prefixes) for at in of}
        threshold = np.quantile(list(found.values()), 1 - self.args.prefix_token_rule.quantile)
        return [token for token, entropy in found.items() if entropy >= threshold]

    def of_prefixes(self):
        """Terms of the policy loss."""
        return [
            self.clipped(self.log_ratios[row, at].exp(), self.inputs["prefix_advantages"][row])
            for row, at in self.selected()
        ]

    def dr_grpo(self, of_sampled):
        terms = [*self.of_prefixes(), *of_sampled]
        return -torch.stack(terms).sum() / (len(self.prefixes) * self.args.max_completion_length)


def sequence_loss(batch):
    """GSPO over sampled tokens, and the cross-entropy of selected prefix tokens over all of them."""
    rows = []
    for row, places in enumerate(batch.sampled):
        ratio = batch.log_ratios[row, places].mean().exp() if places else torch.tensor(1.0)
        rows.append(batch.clipped(ratio, batch.inputs["advantages"][row]) if places else torch.tensor(0.0))
    cross_entropy = -sum(batch.logps[token] for token in batch.selected()) / sum(map(len, batch.prefixes))
    return -torch.stack(rows).mean() + batch.args.prefix_loss_coef * cross_entropy


@pytest.mark.parametrize("settings", [{}, {"prefix_advantage": "on_policy"}], ids=str)
def test_ratio_of_a_sequence_is_of_its_sampled_tokens(assert_is, settings):
    own_term = {"prefix_loss_type": "cross_entropy", "prefix_loss_coef": 0.3}
    assert_is(sequence_loss, importance_sampling_level="sequence", loss_type="grpo", **own_term, **settings)


def test_prefixes_as_context_leave_the_normalizer_of_sequences(assert_is):
    def dapo(batch):
        terms = []
        for row, places in enumerate(batch.sampled):
            ratio = batch.log_ratios[row, places].mean().exp()
            terms += [batch.clipped(ratio, batch.inputs["advantages"][row])] * len(places)
        return -torch.stack(terms).sum() / len(terms)

    assert_is(dapo, importance_sampling_level="sequence", loss_type="dapo", prefix_selection="none")


@pytest.mark.parametrize("quantile", [0.05, 0.2])
def test_entropy_quantile_is_of_sampled_tokens_and_silences_no_prefix(assert_is, quantile):
    def expected(batch):
        entropies = {(row, at): batch.entropies[row, at].item() for row, of in enumerate(batch.sampled) for at in of}
        threshold = torch.quantile(torch.tensor([*entropies.values()]), 1 - quantile).item()  # TRL's is in float32
        kept = [token for token, entropy in entropies.items() if entropy >= threshold]
        assert len(kept) < 0.9 * len(entropies)
        return batch.dr_grpo(
            batch.clipped(batch.log_ratios[token].exp(), batch.inputs["advantages"][token[0]]) for token in kept
        )

    assert_is(expected, top_entropy_quantile=quantile)


def test_divergence_of_a_row_is_of_its_sampled_tokens(assert_is):
    def expected(batch):
        terms, dropped = [], 0
        for row, places in enumerate(batch.sampled):
            divergence, advantage = -batch.log_ratios[row, places].mean(), batch.inputs["advantages"][row]
            if divergence > 0.02 and advantage < 0:
                dropped += 1
                continue
            terms += [batch.clipped(batch.log_ratios[row, at].exp(), advantage) for at in places]
        assert dropped
        return batch.dr_grpo(terms)

    assert_is(expected, off_policy_mask_threshold=0.02)


def test_weight_of_vespo_is_of_sampled_tokens(assert_is):
    def expected(batch):
        terms = [batch.inputs["prefix_advantages"][row] * batch.logps[row, at] for row, at in batch.selected()]
        for row, places in enumerate(batch.sampled):
            ratio, advantage = batch.log_ratios[row, places].sum().exp().item(), batch.inputs["advantages"][row]
            k, shift = (2.0, 3.0) if advantage >= 0 else (3.0, 2.0)
            phi = math.exp(shift) * ratio**k * math.exp(-shift * ratio)
            terms += [phi * advantage * batch.logps[row, at] for at in places]
        return -torch.stack(terms).sum() / sum(map(len, [*batch.prefixes, *batch.sampled]))

    assert_is(expected, loss_type="vespo")
