"""What a run shows: the metrics, the completions table, its printed form, the model card."""

import math
from copy import copy

import numpy as np
import pandas as pd
import pytest
import torch
from trl import GRPOConfig

from prefix_rft_trl import PrefixGRPOTrainer, lab
from prefix_rft_trl.run.completions import PREFIX_END
from prefix_rft_trl.utils.printable import printable


@pytest.fixture
def one_step(train):
    """A step that leaves the model as it is, so that what it logged can be computed again afterwards."""
    return lambda **settings: train(**{"max_steps": 1, "learning_rate": 0.0, "num_prefix_generations": 2, **settings})


# Metrics


def test_rollout_metrics_are_those_of_the_batch(one_step, graded_reward):
    run = one_step(prefix_ratio_schedule="constant")
    generation, logged = run.generation, run.trainer.state.log_history[0]
    lengths, completions = np.array(generation.prefix_lengths), generation.completion_ids
    texts = run.trainer._tokenizer.batch_decode(completions, skip_special_tokens=True)
    rewards, hybrid = np.array(graded_reward(texts)), lengths > 0
    assert hybrid.sum() == 4
    on_policy_lengths = np.array(list(map(len, completions)))[~hybrid]
    expected = {
        "prefix/length": lengths[hybrid].mean(),
        "prefix/tokens": lengths.mean(),
        "prefix/reward_hybrid": rewards[hybrid].mean(),
        "prefix/reward_on_policy": rewards[~hybrid].mean(),
        "prefix/demonstration_share": 1.0,
        "prefix/ratio_low": 0.05,
        "prefix/ratio_high": 0.95,
        "completions/mean_length_on_policy": on_policy_lengths.mean(),
    }
    assert {name: logged[name] for name in expected} == pytest.approx(expected)
    tokens = len(generation.inputs[0]["completion"])  # as all demonstrations of the lab
    assert logged["prefix/ratio"] == pytest.approx(logged["prefix/length"] / tokens)
    assert logged["prefix/demonstration_length"] == tokens


@pytest.mark.parametrize(
    "settings",
    [
        {"max_completion_length": 20, "prefix_ratio_low": 0.95},
        {"prefix_ratio_distribution": "binomial", "prefix_ratio_schedule": "linear", "prefix_ratio_high": 0.6},
        {"prefix_exclude_answer": True, "prefix_ratio_low": 0.95, "max_completion_length": 56},
        {"prefix_ratio_schedule": "whole", "max_completion_length": 56},
    ],
    ids=["budget", "slices", "answer", "whole"],
)
def test_ratio_is_the_share_of_the_demonstration_that_was_given(one_step, lab_rows, settings):
    # Of different lengths: a mean of shares is not the share of means
    rows = lab_rows(completion=[text * (1 + row % 3) for row, text in enumerate(lab_rows()["completion"])])
    if settings.get("prefix_ratio_schedule") == "whole":
        rows = lab_rows()
    run = one_step(train_dataset=rows, per_device_train_batch_size=16, **settings)
    lengths, generation = run.input_ids("completion"), run.generation
    given = [
        (min(prefix, len(ids)), len(ids))
        for prefix, ids in zip(generation.prefix_lengths, lengths, strict=True)
        if prefix
    ]
    assert len(given) >= 4
    assert run.logged("prefix/ratio") == pytest.approx([np.mean([prefix / length for prefix, length in given])])
    assert run.logged("prefix/demonstration_length") == pytest.approx([np.mean([length for _, length in given])])


CLIPPING = {
    "num_iterations": 2, "learning_rate": 2e-2, "max_steps": 3, "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2, "prefix_top_entropy_quantile": 1.0, "epsilon_high": 0.1,
}  # fmt: skip


def test_clip_ratio_is_the_share_of_the_prefix_tokens_of_a_step_beyond_the_bounds(train, monkeypatch):
    counts: dict[int, list[bool]] = {}
    weigh = PrefixGRPOTrainer._apply_prefix_weights

    def watch(trainer, inputs, logps, entropies):
        for row in range(len(logps)):
            sign = np.sign(inputs["prefix_advantages"][row].item())
            for token in inputs["prefix_mask"][row].nonzero().flatten().tolist():
                ratio = math.exp((logps[row, token] - inputs["old_per_token_logps"][row, token]).item())
                clipped = (sign < 0 and ratio < 0.8) or (sign > 0 and ratio > 1.1)
                counts.setdefault(trainer.state.global_step, []).append(clipped)
        return weigh(trainer, inputs, logps, entropies)

    monkeypatch.setattr(PrefixGRPOTrainer, "_apply_prefix_weights", watch)
    run = train(**CLIPPING, num_prefix_generations=2)
    assert run.logged("prefix/clip_ratio") == pytest.approx([np.mean(counts[step]) for step in range(3)])
    assert 0 < np.mean(counts[1]) < 1


@pytest.mark.parametrize("settings", [{"prefix_loss_type": "ppo_unclipped"}, {"loss_type": "sapo"}])
def test_prefix_tokens_that_no_loss_clips_have_no_clip_ratio(one_step, settings):
    assert "prefix/clip_ratio" not in one_step(**settings).trainer.state.log_history[0]


@pytest.mark.parametrize("estimator", ["group", "dr_grpo_prefix_v2"])
def test_token_metrics_are_those_of_the_policy(one_step, completion_scores, estimator):
    run = one_step(prefix_advantage=estimator)
    logged, batch = run.trainer.state.log_history[0], run.trainer._buffered_inputs[0]
    with torch.no_grad():
        entropies = completion_scores(run.trainer.model, batch)[1].numpy()
    lengths, ends = batch["prefix_lengths"].tolist(), batch["completion_mask"].sum(dim=1).tolist()
    prefix = np.concatenate([row[:length] for row, length in zip(entropies, lengths, strict=True)])
    sampled = np.concatenate([row[length:end] for row, length, end in zip(entropies, lengths, ends, strict=True)])
    selected = prefix >= np.quantile(prefix, 0.8)
    expected = {
        "prefix/kept_share": selected.mean(),
        "prefix/trained_token_share": selected.sum() / (selected.sum() + len(sampled)),
        "prefix/entropy_kept": prefix[selected].mean(),
        "prefix/entropy_dropped": prefix[~selected].mean(),
        "policy_entropy": sampled.mean(),
        "prefix/advantage": np.repeat(batch["prefix_advantages"].numpy(), lengths).mean(),
    }
    assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-4)
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
def test_trained_prefix_tokens_are_counted_a_rollout(one_step, monkeypatch, settings):
    # What a token's log-probability gets of the gradient says whether it is trained
    trained, weigh = [], PrefixGRPOTrainer._apply_prefix_weights

    def watch(trainer, inputs, logps, entropies):
        leaf, sums = logps.detach().requires_grad_(), copy(trainer._token_sums)
        weighed = weigh(trainer, inputs, leaf, entropies)
        trainer._token_sums = sums  # this pass is looked at, not counted
        (gradient,) = torch.autograd.grad(weighed[0].sum() + inputs["prefix_loss"], leaf, retain_graph=True)
        places = torch.arange(leaf.size(1)) < inputs["prefix_lengths"].unsqueeze(1)
        trained.append(((gradient != 0) & places).sum().item() / len(leaf))
        return weigh(trainer, inputs, logps, entropies)

    monkeypatch.setattr(PrefixGRPOTrainer, "_apply_prefix_weights", watch)
    run = one_step(**settings)
    assert run.logged("prefix/tokens") == pytest.approx([np.mean(run.generation.prefix_lengths)])
    assert run.logged("prefix/trained_tokens") == pytest.approx([np.mean(trained)])
    assert (np.mean(trained) > 0) == (settings.get("prefix_selection") != "none")


def test_no_prefix_token_counts_as_trained_without_a_selection(one_step):
    logged = one_step(prefix_selection="none").trainer.state.log_history[0]
    assert logged["prefix/kept_share"] == logged["prefix/trained_token_share"] == 0.0
    assert "prefix/entropy_kept" not in logged, "trackers warn of a None"
    assert logged["prefix/entropy_dropped"] > 0


def test_share_of_prefixes_that_hold_the_answer(one_step, lab_rows):
    rows = lab_rows()
    # `3+4=7;`, of which any prefix holds the 3
    held = [text[0] if row % 2 else "none" for row, text in enumerate(rows["completion"])]
    run = one_step(train_dataset=lab_rows(held=held), answer_column="held", per_device_train_batch_size=32)
    share = np.mean([row["held"] != "none" for row in run.generation.inputs])
    assert 0 < share < 1
    assert run.logged("prefix/holds_answer") == pytest.approx([share])


@pytest.mark.parametrize("answer_column", ["no_such_column", None])
def test_prefixes_hold_no_answer_when_there_is_none_to_look_for(one_step, answer_column):
    run = one_step(answer_column=answer_column)
    assert run.logged("prefix/holds_answer") == run.logged("prefix/states_answer") == [None]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_steps": 4}, [0.05 + 0.9 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]),
        ({"max_steps": 3, "prefix_ratio_decay_steps": 2, "prefix_ratio_schedule": "linear"}, [0.95, 0.5, 0.05]),
    ],
)
def test_lower_bound_of_the_ratio_decays_over_the_run(train, settings, expected):
    run = train(**settings)
    lows = run.logged("prefix/ratio_low")
    assert lows == pytest.approx(expected)
    token = 1 / len(run.generations[0].inputs[0]["completion"])  # the length is rounded down
    ratios = zip(lows, run.logged("prefix/ratio"), strict=True)
    assert all(low - token <= ratio + 1e-6 <= 0.95 + 2e-6 for low, ratio in ratios)


# The completions table


def table_of(trainer, step):
    return pd.read_parquet(f"{trainer.args.output_dir}/completions/completions_{step:05d}.parquet")


def assert_hybrid_rows_start_like_the_demonstration(table, rows):
    demonstrations = dict(zip(rows["prompt"], rows["completion"], strict=True))
    for prompt, completion, hybrid, length in table[["prompt", "completion", "hybrid", "prefix_length"]].values:
        assert hybrid == (length > 0)
        assert hybrid == completion.startswith(demonstrations[prompt][:6])
        assert completion.startswith(demonstrations[prompt][:length])


@pytest.mark.parametrize("estimator", ["group", "on_policy", "dr_grpo_prefix_v2"])
def test_completions_table_has_prefix_and_advantage_of_each_rollout(one_step, estimator):
    run = one_step(log_completions=True, num_completions_to_print=1, prefix_advantage=estimator)
    table, generation = table_of(run.trainer, 1), run.generation
    assert table["hybrid"].tolist() == [row % 4 < 2 for row in range(8)]
    assert table["prefix_length"].tolist() == generation.prefix_lengths
    assert table["advantage"].tolist() == pytest.approx(generation.outputs["advantages"].tolist())
    assert table["prompt"].tolist() == [row["prompt"] for row in generation.inputs]
    assert_hybrid_rows_start_like_the_demonstration(table, run.trainer.train_dataset)


def test_completions_table_names_the_demonstration_of_each_hybrid_rollout(one_step, lab_rows):
    texts = lab_rows()["completion"]
    rows = lab_rows(completion=[[f"{place}{text}" for place in range(3)] for text in texts])
    run = one_step(
        train_dataset=rows, per_device_train_batch_size=32, log_completions=True, num_completions_to_print=0
    )
    table, found = table_of(run.trainer, 1), set()
    for hybrid, completion, index in table[["hybrid", "completion", "demonstration"]].values:
        assert hybrid == (index is not None and index == index)
        if hybrid:
            assert completion.startswith(str(int(index)))
            found.add(index)
    assert found == {0, 1, 2}


def test_completions_table_keeps_step_with_evaluations_in_between(train):
    train_rows, test_rows = lab.load_dataset("train", 16), lab.load_dataset("test", 1)
    run = train(
        others={"eval_dataset": test_rows},
        eval_strategy="steps",
        eval_steps=1,
        eval_on_start=True,
        per_device_eval_batch_size=4,
        log_completions=True,
        learning_rate=0.0,
        prefix_advantage="on_policy",
    )
    both = {column: [*train_rows[column], *test_rows[column]] for column in ("prompt", "completion")}
    for step, hybrid_rows in ((0, 0), (1, 1), (2, 1)):
        table = table_of(run.trainer, step)
        assert_hybrid_rows_start_like_the_demonstration(table, both)
        # The last half of a table is the evaluation's, the first what is left of the training batch
        assert table["hybrid"].sum() == hybrid_rows
        assert table["prompt"].tolist()[-4:] == [test_rows["prompt"][0]] * 4


@pytest.mark.parametrize("messages", [False, True])
def test_printed_rollouts_can_be_read_at_80_columns_and_mark_where_the_prefix_ends(
    one_step, lab_rows, as_message, base_model, chat_model, capsys, monkeypatch, messages
):
    monkeypatch.setenv("COLUMNS", "80")
    of_messages = {"prompt": as_message("user"), "completion": as_message("assistant")}
    run = one_step(
        model=chat_model if messages else base_model,
        train_dataset=lab_rows(**of_messages if messages else {}),
        log_completions=True,
    )
    printed = capsys.readouterr().out
    pairs = zip(run.generation.prefix_lengths, run.generation.completion_ids, strict=True)
    prefixes = [run.trainer._tokenizer.decode(ids[:length]) for length, ids in pairs if length]
    assert [prefix + PREFIX_END in printed for prefix in prefixes] == [True] * 4
    # Printed for the step, and not again for the run's summary
    assert printed.count(PREFIX_END) == printed.count("hybrid, prefix of") == 4
    texts = map(
        printable, run.trainer._tokenizer.batch_decode(run.generation.completion_ids, skip_special_tokens=True)
    )
    shown = "".join(printed.replace(PREFIX_END, "").split())  # long texts are wrapped
    assert [text for text in texts if "".join(text.split()) not in shown] == []
    assert max(map(len, printed.splitlines())) <= 80


@pytest.mark.parametrize("number", [3, 8])
def test_as_many_completions_are_printed_as_asked_for(one_step, capsys, number):
    one_step(log_completions=True, num_completions_to_print=number, num_prefix_generations=4)
    assert capsys.readouterr().out.count(PREFIX_END) == number


def test_log_before_any_rollout_prints_none(make_trainer):
    trainer = make_trainer(log_completions=True)
    trainer.log({"note": 1.0})
    assert trainer.state.log_history[-1]["note"] == 1.0


# The model card


@pytest.mark.parametrize("settings", [{}, {"config_class": GRPOConfig}, {"num_prefix_generations": 0}], ids=str)
def test_model_card_cites_the_paper_of_the_method(make_trainer, tmp_path, settings):
    make_trainer(**settings).create_model_card()
    card = (tmp_path / "README.md").read_text()
    of_prefix_rft, of_grpo = ("2507.01679", "Prefix-RFT", "- prefix-rft"), ("2402.03300",)
    cited, others = (of_grpo, of_prefix_rft) if settings else (of_prefix_rft, of_grpo)
    assert all(text in card for text in cited)
    assert not any(text in card for text in others)
