"""The gradient of each method that joins demonstrations and reward, against its formula written a token at a time.

The rewards are given: a group that fails, a mixed one, a solved one, and one whose demonstration alone succeeds. The
batch is trained in one micro-batch and in four.
"""

import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from prefix_rft_trl.method.coefficients import Coefficient
from prefix_rft_trl.method.token_laws import TOKEN_LAWS


GROUP, BUDGET = 4, 40
WHOLE = {"num_prefix_generations": 1, "prefix_ratio_schedule": "whole", "prefix_top_entropy_quantile": 1.0}
HPT = WHOLE | {
    "prefix_advantage": "on_policy",
    "prefix_loss_type": "cross_entropy",
    "prefix_loss_coef": 0.3,
    "prefix_loss_normalization": "prompts",
    "prefix_gate": 0.0,
    "prefix_gate_drops_rollouts": True,
}
ALL_FAILED, MIXED, ALL_SOLVED, DEMONSTRATION_ALONE = [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]
REWARDS = [*ALL_FAILED, *MIXED, *ALL_SOLVED, *DEMONSTRATION_ALONE]
CUTS = [1, 4]


class Batch:
    """A generation batch with given rewards: what the policy thinks of each token, and which are a demonstration's."""

    def __init__(self, trainer, generation, logps, rewards):
        self.trainer, self.rewards, self.logps = trainer, rewards, logps
        self.lengths = generation.prefix_lengths
        self.sizes = [len(ids) for ids in generation.completion_ids]
        self.groups = [range(start, start + GROUP) for start in range(0, len(rewards), GROUP)]

    def is_hybrid(self, row):
        return self.lengths[row] > 0

    def sampled_rows(self, group):
        return [row for row in group if not self.is_hybrid(row)]

    def success_rate(self, group):
        rows = self.sampled_rows(group)
        return sum(self.rewards[row] >= 1 for row in rows) / len(rows)

    def mean(self, rows):
        return sum(self.rewards[row] for row in rows) / len(rows)

    def sampled(self, row):
        """Log-probabilities of the tokens that the policy has sampled."""
        return self.logps[row, self.lengths[row] : self.sizes[row]]

    def demonstration(self, row):
        return self.logps[row, : self.lengths[row]]


@pytest.fixture
def check(make_double_trainer, train, completion_scores):
    """Trains a batch with these settings, and compares the gradient of its micro-batches with that of a formula."""

    def compare(formula, settings, parts=1, rewards=REWARDS, step=0):
        trainer = make_double_trainer(
            reward_funcs=lambda completions, **kwargs: [float(reward) for reward in rewards],
            **{
                "max_steps": 1, "learning_rate": 0.0, "max_completion_length": BUDGET, "num_generations": GROUP,
                "per_device_train_batch_size": len(rewards) // parts, "gradient_accumulation_steps": parts, **settings,
            },
        )  # fmt: skip
        generation = train(trainer=trainer).generation
        logps, _ = completion_scores(trainer.model, generation.outputs)
        trainer.state.global_step = step
        trainer.model.zero_grad()
        formula(Batch(trainer, generation, logps, rewards)).backward()
        expected = {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}
        trainer.model.zero_grad()
        for inputs in trainer._buffered_inputs:
            trainer.compute_loss(trainer.model, inputs).backward()
        assert any(gradient.any() for gradient in expected.values())
        for name, weight in trainer.model.named_parameters():
            largest = expected[name].abs().max().item()
            torch.testing.assert_close(
                weight.grad,
                expected[name],
                rtol=1e-6,
                atol=1e-6 * max(largest, 1e-9),
                msg=lambda m, n=name: f"{n}: {m}",
            )
        return trainer

    return compare


def dr_grpo(batch, tokens):
    return -sum(tokens) / (len(batch.rewards) * BUDGET)


# Gated cross-entropy


def hpt(batch, gate=0.0, coefficient=0.3, drops=True, normalization="prompts"):
    sampled, demonstrations = [], []
    opened = [group for group in batch.groups if batch.success_rate(group) <= gate]
    for group in batch.groups:
        is_open = group in opened
        mean = batch.mean(batch.sampled_rows(group))
        for row in batch.sampled_rows(group):
            if not (is_open and drops):
                sampled.append((batch.rewards[row] - mean) * batch.sampled(row).sum())
        demonstrations += [batch.demonstration(row) for row in group if batch.is_hybrid(row) and is_open]
    if normalization == "prompts":
        cross_entropy = -sum(logps.mean() for logps in demonstrations) / len(batch.groups)
    else:
        cross_entropy = -sum(logps.sum() for logps in demonstrations) / sum(map(len, demonstrations))
    return dr_grpo(batch, sampled) + coefficient * cross_entropy


@pytest.mark.parametrize("parts", CUTS)
@pytest.mark.parametrize("normalization", ["prompts", "tokens"])
def test_hpt_imitates_where_the_group_fails_and_follows_the_reward_elsewhere(check, parts, normalization):
    left = []

    def formula(batch):
        dropped = [
            row for group in batch.groups if batch.success_rate(group) == 0 for row in batch.sampled_rows(group)
        ]
        left.append(sum(len(batch.sampled(row)) for row in dropped) / len(batch.rewards))
        return hpt(batch, normalization=normalization)

    trainer = check(formula, HPT | {"prefix_loss_normalization": normalization}, parts)
    logged = trainer.state.log_history[0]
    assert logged["prefix/gate_open"] == 0.5
    assert logged["prefix/gate_left_tokens"] == pytest.approx(left[0])


@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("gate", [0.0, 0.34, 0.67])
def test_gate_is_the_highest_success_rate_at_which_a_demonstration_is_trained(check, gate, drops):
    settings = HPT | {"prefix_gate": gate, "prefix_gate_drops_rollouts": drops, "num_prefix_generations": 1}
    check(lambda batch: hpt(batch, gate=gate, drops=drops), settings, 4)


def test_superrl_counts_any_positive_reward_as_a_success(check):
    rewards = [1, 0, 0.1, 0, *MIXED, *ALL_SOLVED, *DEMONSTRATION_ALONE]

    def superrl(batch):
        sampled, demonstrations = [], []
        for group in batch.groups:
            rows = batch.sampled_rows(group)
            if any(batch.rewards[row] > 0 for row in rows):
                mean = batch.mean(rows)
                sampled += [(batch.rewards[row] - mean) * batch.sampled(row).sum() for row in rows]
            else:
                demonstrations += [batch.demonstration(row) for row in group if batch.is_hybrid(row)]
        return dr_grpo(batch, sampled) - sum(logps.mean() for logps in demonstrations) / len(batch.groups)

    check(superrl, HPT | {"prefix_success_reward": 1e-6, "prefix_loss_coef": 1.0}, 4, rewards)


@pytest.mark.parametrize("parts", CUTS)
@pytest.mark.parametrize("loss_type", ["dr_grpo", "dapo"])
def test_closed_gate_takes_a_demonstration_out_of_mean_and_token_count(check, parts, loss_type):
    settings = WHOLE | {"prefix_loss_type": "shaped", "prefix_gate": 0.0, "loss_type": loss_type}
    rewards = [1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0]

    def luffy_behind_a_gate(batch):
        tokens, count = [], 0
        for group in batch.groups:
            is_open = batch.success_rate(group) == 0
            rows = [row for row in group if is_open or not batch.is_hybrid(row)]
            for row in rows:
                advantage, p = batch.rewards[row] - batch.mean(rows), batch.demonstration(row).exp()
                tokens += [advantage * batch.sampled(row).sum(), advantage * (p / (p + 0.1)).sum()]
                count += batch.sizes[row]
        return dr_grpo(batch, tokens) if loss_type == "dr_grpo" else -sum(tokens) / count

    check(luffy_behind_a_gate, settings, parts, rewards)


# Token laws over each denominator


LAWS = {
    "cross_entropy": lambda p: 1.0,
    "dft": lambda p: p,
    "chord_phi": lambda p: p * (1 - p),
    "trust_region": lambda p: (p / 0.1).clamp(max=1),
}
CLOSED_FORMS = {"shaped": lambda a, p: a * p * 0.1 / (p + 0.1) ** 2, "ppo_unclipped": lambda a, p: a + 0 * p}


def weighed(batch, law, coefficient, normalization, convex=False):
    """Of hybrid rollouts that count in the mean of their group, as all others."""
    tokens, demonstrations = [], []
    for group in batch.groups:
        for row in group:
            advantage, logps = batch.rewards[row] - batch.mean(group), batch.demonstration(row)
            tokens.append((1 - coefficient if convex else 1) * advantage * batch.sampled(row).sum())
            p = logps.detach().exp()
            weights = LAWS[law](p) if law in LAWS else CLOSED_FORMS[law](advantage, p)
            if len(logps):
                demonstrations.append((row, coefficient * (weights * logps)))
    if normalization == "loss":
        return dr_grpo(batch, [*tokens, *(terms.sum() for _, terms in demonstrations)])
    if normalization == "tokens":
        term = sum(terms.sum() for _, terms in demonstrations) / sum(len(terms) for _, terms in demonstrations)
    else:
        hybrids = [sum(map(batch.is_hybrid, group)) for group in batch.groups]
        term = sum(terms.mean() / hybrids[row // GROUP] for row, terms in demonstrations) / len(batch.groups)
    return dr_grpo(batch, tokens) - term


@pytest.mark.parametrize("hybrids", [1, 3])
@pytest.mark.parametrize("normalization", ["tokens", "prompts", "loss"])
@pytest.mark.parametrize("law", [*LAWS, *CLOSED_FORMS])
def test_law_over_its_denominator(check, law, normalization, hybrids):
    settings = {
        "num_prefix_generations": hybrids, "prefix_loss_type": law, "prefix_loss_coef": 0.7,
        "prefix_loss_normalization": normalization, "prefix_top_entropy_quantile": 1.0,
    }  # fmt: skip
    check(lambda batch: weighed(batch, law, 0.7, normalization), settings, 4)


@pytest.mark.parametrize("parts", CUTS)
def test_trapo_trains_a_prefix_within_the_trust_region(check, parts):
    settings = {
        "num_prefix_generations": 2, "prefix_loss_type": "trust_region", "prefix_loss_coef": 1.0,
        "prefix_loss_normalization": "loss", "prefix_top_entropy_quantile": 1.0, "epsilon": 1e6,
    }  # fmt: skip
    check(lambda batch: weighed(batch, "trust_region", 1.0, "loss"), settings, parts)


@pytest.mark.parametrize("step", [0, 3, 12, 500])
def test_coefficient_follows_its_schedule_and_convex_takes_it_from_sampled_tokens(check, step):
    settings = {
        "num_prefix_generations": 1, "prefix_loss_type": "chord_phi", "prefix_loss_normalization": "tokens",
        "prefix_loss_coef": 0.9, "prefix_loss_coef_schedule": "cosine", "prefix_loss_coef_end": 0.05,
        "prefix_loss_coef_warmup_steps": 4, "prefix_loss_coef_decay_steps": 20, "prefix_loss_convex": True,
        "prefix_top_entropy_quantile": 1.0,
    }  # fmt: skip
    mu = {
        0: 0.0,
        3: 0.9 * 3 / 4,
        12: 0.05 + 0.85 * (1 + math.cos(math.pi * 8 / 20)) / 2,
        500: 0.05,
    }[step]
    check(lambda batch: weighed(batch, "chord_phi", mu, "tokens", convex=True), settings, 4, step=step)


def test_coefficient_scales_the_advantage_of_prefix_tokens_too(check):
    settings = {"num_prefix_generations": 1, "prefix_loss_coef": 0.25, "prefix_top_entropy_quantile": 1.0}
    check(lambda batch: weighed(batch, "ppo_unclipped", 0.25, "loss"), settings)


# All combinations of the tables


@st.composite
def combinations(draw):
    return {
        "prefix_loss_type": draw(st.sampled_from(sorted(TOKEN_LAWS))),
        "prefix_selection": draw(st.sampled_from(["top_entropy", "top_entropy_per_rollout", "random", "none"])),
        "prefix_top_entropy_quantile": draw(st.sampled_from([None, 0.5, 1.0])),
        "prefix_loss_normalization": draw(st.sampled_from([None, "tokens", "prompts", "loss"])),
        "prefix_loss_coef": draw(st.sampled_from([None, 0.1, 1.0, 2.0])),
        "prefix_loss_coef_schedule": draw(st.sampled_from(["constant", "linear", "cosine"])),
        "prefix_loss_coef_end": draw(st.sampled_from([None, 0.05])),
        "prefix_loss_coef_warmup_steps": draw(st.sampled_from([0, 2])),
        "prefix_loss_convex": draw(st.booleans()),
        "prefix_gate": draw(st.sampled_from([None, 0.0, 0.5])),
        "prefix_gate_drops_rollouts": draw(st.booleans()),
        "prefix_advantage": draw(st.sampled_from(["group", "on_policy", "dr_grpo_prefix"])),
        "prefix_ratio_schedule": draw(st.sampled_from(["cosine", "whole"])),
        "num_prefix_generations": draw(st.sampled_from([1, 2, 4])),
        "loss_type": draw(st.sampled_from(["dr_grpo", "grpo", "dapo", "bnpo", "cispo", "sapo", "vespo", "luspo"])),
        "importance_sampling_level": draw(st.sampled_from(["token", "token", "sequence"])),
    }


@hypothesis.given(settings=combinations(), seed=st.integers(0, 99))
@hypothesis.settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_every_combination_trains_or_is_refused_with_a_sentence(make_trainer, settings, seed):
    try:
        trainer = make_trainer(max_steps=1, seed=seed, **settings)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert any(name in refusal for name in settings)
        assert refusal.endswith(".")
        return
    trainer.train()
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())
    assert math.isfinite(trainer.state.log_history[0]["grad_norm"])


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (5, 0.5), (10, 1.0), (15, 0.75), (20, 0.5), (30, 0.5)])
def test_coefficient_over_training(step, expected):
    assert Coefficient(1.0, 0.5, "linear", warmup_steps=10).at(step, max_steps=20) == pytest.approx(expected)
