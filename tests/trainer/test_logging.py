"""What a run shows: the metrics, the completions table, its printed form, the model card."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from prefix_rft_trl import PrefixGRPOTrainer, lab
from prefix_rft_trl.run.completions_table import PREFIX_END


def graded_reward(completions, **kwargs):
    return [len(text) % 7 / 10 for text in completions]


@pytest.fixture
def unchanged_run(make_trainer, record):
    """A step that leaves the model as it is, so that what it logged can be computed again afterwards."""

    def run(**settings):
        trainer = make_trainer(
            reward_funcs=graded_reward,
            **{"max_steps": 1, "learning_rate": 0.0, "num_prefix_generations": 2, **settings},
        )
        generations = record(trainer)
        trainer.train()
        return trainer, generations[0]

    return run


# Metrics


def test_metrics_of_rollouts_are_those_of_the_batch(unchanged_run):
    trainer, generation = unchanged_run(prefix_ratio_schedule="uniform")
    logged = trainer.state.log_history[0]
    lengths, completions = np.array(generation.prefix_lengths), generation.completion_ids
    texts = trainer._tokenizer.batch_decode(completions, skip_special_tokens=True)
    rewards, hybrid = np.array(graded_reward(texts)), lengths > 0
    assert hybrid.sum() == 4
    assert logged["prefix/length"] == pytest.approx(lengths[hybrid].mean())
    assert logged["prefix/reward_hybrid"] == pytest.approx(rewards[hybrid].mean())
    assert logged["prefix/reward_on_policy"] == pytest.approx(rewards[~hybrid].mean())
    assert logged["prefix/demonstration_share"] == 1.0
    on_policy_lengths = [len(ids) for ids, is_hybrid in zip(completions, hybrid, strict=True) if not is_hybrid]
    assert logged["completions/mean_length_on_policy"] == pytest.approx(np.mean(on_policy_lengths))
    # L = floor(ratio * |y*|), and all demonstrations of the lab have the same length
    tokens = len(generation.inputs[0]["completion"])
    assert logged["prefix/length"] <= logged["prefix/ratio"] * tokens < logged["prefix/length"] + 1
    assert logged["prefix/ratio_low"] == 0.05
    assert logged["prefix/ratio_high"] == 0.95


@pytest.mark.parametrize("estimator", ["group", "dr_grpo_prefix_v2"])
def test_metrics_of_tokens_are_those_of_the_policy(unchanged_run, estimator):
    trainer, _ = unchanged_run(prefix_advantage=estimator)
    logged, batch = trainer.state.log_history[0], trainer._buffered_inputs[0]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=mask).logits[:, -batch["completion_ids"].size(1) - 1 : -1]
    entropies = torch.distributions.Categorical(logits=logits).entropy().numpy()
    lengths = batch["prefix_lengths"].tolist()
    of_prefix = np.concatenate([row[:length] for row, length in zip(entropies, lengths, strict=True)])
    ends = batch["completion_mask"].sum(dim=1).tolist()
    sampled = np.concatenate([row[length:end] for row, length, end in zip(entropies, lengths, ends, strict=True)])
    kept = of_prefix >= np.quantile(of_prefix, 0.8)
    assert logged["prefix/kept_share"] == pytest.approx(kept.mean())
    assert logged["prefix/trained_token_share"] == pytest.approx(kept.sum() / (kept.sum() + len(sampled)))
    assert logged["prefix/entropy_kept"] == pytest.approx(of_prefix[kept].mean(), rel=1e-4)
    assert logged["prefix/entropy_dropped"] == pytest.approx(of_prefix[~kept].mean(), rel=1e-4)
    assert logged["policy_entropy"] == pytest.approx(sampled.mean(), rel=1e-4)
    advantages = np.repeat(batch["prefix_advantages"].numpy(), lengths)
    assert logged["prefix/advantage"] == pytest.approx(advantages.mean(), rel=1e-4)
    assert abs(logged["prefix/advantage"]) > 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prefix_ratio_schedule": "whole", "prefix_top_entropy_quantile": 1.0, "prefix_loss_type": "shaped"},
        {"prefix_loss_type": "cross_entropy", "prefix_top_entropy_quantile": 1.0},
        {"prefix_loss_type": "cross_entropy", "prefix_selection": "none"},
        {"gradient_accumulation_steps": 2, "prefix_selection": "top_entropy_per_rollout"},
    ],
    ids=str,
)
def test_tokens_of_prefixes_given_and_trained_are_counted_a_rollout(unchanged_run, monkeypatch, settings):
    # What a token's log-probability gets of the gradient says whether it is trained
    trained, weigh = [], PrefixGRPOTrainer._weigh_prefix_tokens

    def watching(trainer, inputs, logps, entropies):
        leaf = logps.detach().requires_grad_()
        weighed = weigh(trainer, inputs, leaf, entropies)
        (gradient,) = torch.autograd.grad(weighed[0].sum() + inputs["prefix_loss"], leaf, retain_graph=True)
        places = torch.arange(leaf.size(1)) < inputs["prefix_lengths"].unsqueeze(1)
        trained.append(((gradient != 0) & places).sum().item() / len(leaf))
        return weigh(trainer, inputs, logps, entropies)

    monkeypatch.setattr(PrefixGRPOTrainer, "_weigh_prefix_tokens", watching)
    trainer, generation = unchanged_run(**settings)
    logged = trainer.state.log_history[0]
    assert logged["prefix/tokens"] == pytest.approx(np.mean(generation.prefix_lengths))
    assert logged["prefix/trained_tokens"] == pytest.approx(np.mean(trained))
    assert (np.mean(trained) > 0) == (settings.get("prefix_selection") != "none")


def test_nothing_of_the_prefix_counts_as_trained_when_it_is_taken_out_of_the_loss(unchanged_run):
    trainer, _ = unchanged_run(prefix_selection="none")
    logged = trainer.state.log_history[0]
    assert logged["prefix/kept_share"] == logged["prefix/trained_token_share"] == 0.0
    assert logged["prefix/entropy_kept"] is None
    assert logged["prefix/entropy_dropped"] > 0


def test_share_of_prefixes_that_hold_the_answer_is_counted(unchanged_run):
    rows = lab.load_dataset("train", 16)
    steps = [completion[:6] for completion in rows["completion"]]  # `3+4=7;`, of which any prefix holds the 3
    held = [step[0] if row % 2 else "none" for row, step in enumerate(steps)]
    dataset = rows.add_column("held", held)
    trainer, generation = unchanged_run(train_dataset=dataset, answer_column="held", per_device_train_batch_size=32)
    share = np.mean([row_in["held"] != "none" for row_in in generation.inputs])
    assert 0 < share < 1
    assert trainer.state.log_history[0]["prefix/holds_answer"] == pytest.approx(share)


def test_lower_end_of_the_ratio_decays_over_the_run(make_trainer):
    trainer = make_trainer(max_steps=4)
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    cosine = [0.05 + 0.9 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    assert [entry["prefix/ratio_low"] for entry in steps] == pytest.approx(cosine)
    assert all(entry["prefix/ratio_low"] <= entry["prefix/ratio"] + 1e-6 <= 0.95 + 2e-6 for entry in steps)


def test_decay_ends_at_the_step_that_is_set(make_trainer):
    trainer = make_trainer(max_steps=3, prefix_ratio_decay_steps=2, prefix_ratio_schedule="linear")
    trainer.train()
    steps = [entry["prefix/ratio_low"] for entry in trainer.state.log_history if "loss" in entry]
    assert steps == pytest.approx([0.95, 0.5, 0.05])


@pytest.mark.parametrize("answer_column", ["no_such_column", None])
def test_prefixes_hold_no_answer_when_there_is_none_to_look_for(unchanged_run, answer_column):
    trainer, _ = unchanged_run(answer_column=answer_column)
    assert trainer.state.log_history[0]["prefix/holds_answer"] is None


# The completions table


def table_of(trainer, step):
    return pd.read_parquet(f"{trainer.args.output_dir}/completions/completions_{step:05d}.parquet")


def assert_marks_the_rows_that_start_like_the_demonstration(table, rows):
    demonstrations = dict(zip(rows["prompt"], rows["completion"], strict=True))
    for prompt, completion, hybrid, length in table[["prompt", "completion", "hybrid", "prefix_length"]].values:
        assert hybrid == (length > 0)
        assert hybrid == completion.startswith(demonstrations[prompt][:6])
        assert completion.startswith(demonstrations[prompt][:length])


@pytest.mark.parametrize("estimator", ["group", "on_policy", "dr_grpo_prefix_v2"])
def test_completions_table_has_prefix_and_trained_advantage_of_each_rollout(unchanged_run, estimator):
    trainer, generation = unchanged_run(log_completions=True, num_completions_to_print=1, prefix_advantage=estimator)
    table = table_of(trainer, 1)
    assert table["hybrid"].tolist() == [row % 4 < 2 for row in range(8)]
    assert table["prefix_length"].tolist() == generation.prefix_lengths
    assert table["advantage"].tolist() == pytest.approx(generation.outputs["advantages"].tolist())
    assert table["prompt"].tolist() == [row_in["prompt"] for row_in in generation.inputs]
    assert_marks_the_rows_that_start_like_the_demonstration(table, trainer.train_dataset)


def test_completions_table_keeps_step_with_evaluations_in_between(make_trainer):
    train, held_out = lab.load_dataset("train", 16), lab.load_dataset("test", 1)
    trainer = make_trainer(
        others={"eval_dataset": held_out},
        eval_strategy="steps",
        eval_steps=1,
        eval_on_start=True,
        per_device_eval_batch_size=4,
        log_completions=True,
        learning_rate=0.0,
        prefix_advantage="on_policy",
    )
    trainer.train()
    for step, hybrid_rows in ((0, 0), (1, 1), (2, 1)):
        table = table_of(trainer, step)
        both = {column: [*train[column], *held_out[column]] for column in ("prompt", "completion")}
        assert_marks_the_rows_that_start_like_the_demonstration(table, both)
        # The last half of a table is the evaluation's, the first what is left of the training batch
        assert table["hybrid"].sum() == hybrid_rows
        assert table["prompt"].tolist()[-4:] == [held_out["prompt"][0]] * 4


@pytest.mark.parametrize("messages", [False, True])
def test_printed_table_marks_where_the_prefix_ends(
    unchanged_run, base_model, chat_model, capsys, monkeypatch, messages
):
    monkeypatch.setenv("COLUMNS", "600")  # a row on one line
    rows = lab.load_dataset("train", 16)
    if messages:
        rows = rows.map(
            lambda row: {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                "completion": [{"role": "assistant", "content": row["completion"]}],
            }
        )
    trainer, generation = unchanged_run(
        model=chat_model if messages else base_model, train_dataset=rows, log_completions=True
    )
    printed = capsys.readouterr().out
    pairs = zip(generation.prefix_lengths, generation.completion_ids, strict=True)
    prefixes = [trainer._tokenizer.decode(ids[:length]) for length, ids in pairs if length]
    assert len(prefixes) == 4
    assert [prefix + PREFIX_END in printed for prefix in prefixes] == [True] * 4
    # Printed once for the step and once for the run's summary
    assert printed.count(PREFIX_END) == 2 * 4
    assert "prefix_length" in printed
    assert "prefix_characters" not in printed


def test_as_many_completions_are_printed_as_asked_for(unchanged_run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "600")
    unchanged_run(log_completions=True, num_completions_to_print=8, num_prefix_generations=4)
    assert capsys.readouterr().out.count(PREFIX_END) == 2 * 8
    trainer, _ = unchanged_run(log_completions=True, num_completions_to_print=3, num_prefix_generations=4)
    assert capsys.readouterr().out.count(PREFIX_END) == 2 * 3
    assert trainer.num_completions_to_print == 3


def test_log_before_any_rollout_prints_an_empty_table(make_trainer):
    trainer = make_trainer(log_completions=True)
    trainer.log({"note": 1.0})
    assert trainer.state.log_history[-1]["note"] == 1.0


# The model card


def test_model_card_cites_the_paper(make_trainer, tmp_path):
    make_trainer().create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert "2507.01679" in card
    assert "Prefix-RFT" in card
    assert "- prefix-rft" in card
    assert "2402.03300" not in card
