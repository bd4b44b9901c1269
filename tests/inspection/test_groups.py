import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from prefix_rft_trl import lab
from prefix_rft_trl.inspection.groups import inspect_rows, pick_rows, token_texts
from prefix_rft_trl.inspection.records import HybridRollout, Inspection, Token


ROWS = [3, 1, 6]


@pytest.fixture
def make_trainer(make_trainer) -> Callable[..., Any]:
    """Makes a trainer for 100 steps on eight problems."""
    rows = lab.load_dataset("train", 8)
    return functools.partial(make_trainer, train_dataset=rows, max_completion_length=56, max_steps=100)


def joined_text(tokens: tuple[Token, ...]) -> str:
    return "".join(token.text for token in tokens)


def all_hybrids(inspection: Inspection) -> list[HybridRollout]:
    return [rollout for group in inspection.groups for rollout in group.hybrids]


def score_by_hand(base_model: str, prompt: str, tokens: tuple[Token, ...], temperature: float) -> tuple:
    """Entropies and probabilities of tokens after a prompt, from the model's logits."""
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32).eval()
    prompt_ids = tokenizer(prompt)["input_ids"]
    ids = tokenizer.convert_tokens_to_ids([token.text for token in tokens])
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt_ids, *ids]])).logits[0].double() / temperature
    probabilities = torch.softmax(logits, dim=-1)[len(prompt_ids) - 1 : -1]
    entropies = -(probabilities * probabilities.clamp_min(1e-300).log()).sum(dim=-1)
    return entropies, probabilities[range(len(ids)), ids]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_figures_of_a_token_are_the_models_given_the_text_before_it(make_trainer, base_model, temperature):
    inspection = inspect_rows(make_trainer(temperature=temperature), ROWS)
    for group in inspection.groups:
        (rollout,) = group.hybrids
        for tokens in (rollout.prefix + rollout.continuation, rollout.prefix + rollout.rest):
            entropies, probabilities = score_by_hand(base_model, group.prompt, tokens, temperature)
            assert [token.entropy for token in tokens] == pytest.approx(entropies.tolist(), abs=1e-4, rel=1e-4)
            assert [token.probability for token in tokens] == pytest.approx(probabilities.tolist(), abs=1e-4, rel=1e-4)


def test_selected_tokens_are_the_most_uncertain_fifth_of_all_prefixes_on_the_page(make_trainer, base_model):
    inspection = inspect_rows(make_trainer(), ROWS)
    shown = [(group.prompt, rollout) for group in inspection.groups for rollout in group.hybrids]
    entropies = torch.cat([score_by_hand(base_model, prompt, rollout.prefix, 1.0)[0] for prompt, rollout in shown])
    by_hand = entropies >= entropies.quantile(0.8)
    selected = [token.selected for _, rollout in shown for token in rollout.prefix]
    assert selected == by_hand.tolist()
    assert 0 < sum(selected) < len(selected)
    assert not any(token.selected for _, rollout in shown for token in rollout.continuation + rollout.rest)


def test_rewards_and_advantages_belong_to_the_texts_on_the_page(make_trainer):
    differ = 0
    for group in inspect_rows(make_trainer(), ROWS).groups:
        texts = [joined_text(rollout.prefix + rollout.continuation).removesuffix("<eos>") for rollout in group.hybrids]
        texts += [rollout.text for rollout in group.on_policy]
        rewards = [sum(map(ord, text)) % 11 / 10 for text in texts]
        mean = sum(rewards) / len(rewards)
        shown = [*group.hybrids, *group.on_policy]
        assert len(shown) == 4
        assert [rollout.reward for rollout in shown] == pytest.approx(rewards)
        advantages = [reward - mean for reward in rewards]
        assert [rollout.advantage for rollout in shown] == pytest.approx(advantages, abs=1e-6)
        assert [rollout.prefix_advantage for rollout in group.hybrids] == pytest.approx(advantages[:1], abs=1e-6)
        assert group.mean_reward == pytest.approx(mean)
        differ += len(set(rewards)) > 1
    assert differ


def test_prefix_and_continuation_have_the_advantages_of_the_configured_estimator(make_trainer):
    (group,) = inspect_rows(make_trainer(prefix_advantage="dr_grpo_prefix"), [0]).groups
    (rollout,) = group.hybrids
    baseline = sum(other.reward for other in group.on_policy) / len(group.on_policy)
    assert rollout.prefix_advantage == pytest.approx(rollout.reward - baseline, abs=1e-6)
    assert rollout.advantage == pytest.approx(rollout.reward, abs=1e-6)


def test_prefix_and_rest_are_the_demonstration_of_the_requested_row(make_trainer):
    dataset = lab.load_dataset("train", 8)
    inspection = inspect_rows(make_trainer(), ROWS)
    assert [group.row for group in inspection.groups] == ROWS
    for group in inspection.groups:
        assert group.prompt.endswith(dataset[group.row]["prompt"])
        for rollout in group.hybrids:
            assert joined_text(rollout.prefix + rollout.rest) == dataset[group.row]["completion"]


@pytest.mark.parametrize(("at_step", "low"), [(0, 0.95), (None, 0.5), (100, 0.05)])
def test_prefix_lengths_follow_the_schedule_at_that_step(make_trainer, at_step, low):
    trainer = make_trainer(num_prefix_generations=4)
    for rollout in all_hybrids(inspect_rows(trainer, ROWS, at_step)):
        total = len(rollout.prefix) + len(rollout.rest)
        assert math.floor(low * total) <= len(rollout.prefix) <= math.floor(0.95 * total)
    assert trainer.state.global_step == (50 if at_step is None else at_step)


@pytest.mark.parametrize(
    ("settings", "step", "steps"),
    [
        ({"prefix_ratio_decay_steps": 20}, 10, 100),
        ({"max_steps": -1, "num_train_epochs": 10}, 20, 40),  # 2 prompts of 8 a step
    ],
)
def test_the_default_step_is_the_middle_of_the_decay_also_in_a_run_of_epochs(make_trainer, settings, step, steps):
    trainer = make_trainer(**settings)
    inspect_rows(trainer, [0])
    assert (trainer.state.global_step, trainer.state.max_steps) == (step, steps)


def test_a_prefix_that_is_only_context_has_no_selected_token(make_trainer):
    (rollout,) = all_hybrids(inspect_rows(make_trainer(prefix_selection="none"), [0]))
    assert rollout.num_selected == 0


def test_randomly_selected_tokens_are_a_fifth_whatever_their_entropy(make_trainer):
    rollouts = all_hybrids(inspect_rows(make_trainer(prefix_selection="random", num_prefix_generations=4), ROWS))
    tokens = [token for rollout in rollouts for token in rollout.prefix]
    selected = [token.entropy for token in tokens if token.selected]
    assert len(selected) == pytest.approx(0.2 * len(tokens), abs=1)
    assert min(selected) < sorted(token.entropy for token in tokens)[len(tokens) // 2]


def test_imitated_prefixes_have_no_advantage(make_trainer):
    (rollout,) = all_hybrids(inspect_rows(make_trainer(prefix_loss_type="cross_entropy"), [0]))
    assert rollout.prefix_advantage is None


def test_a_fully_given_demonstration_has_no_continuation_and_no_rest(make_trainer):
    (rollout,) = all_hybrids(inspect_rows(make_trainer(prefix_ratio_schedule="whole"), [0]))
    assert joined_text(rollout.prefix) == lab.load_dataset("train", 1)["completion"][0] + "<eos>"
    assert rollout.continuation == rollout.rest == ()


def test_a_row_without_a_demonstration_has_on_policy_rollouts_alone(make_trainer):
    rows = lab.load_dataset("train", 8)
    rows = rows.map(lambda row, place: {"completion": row["completion"] if place else None}, with_indices=True)
    without, with_one = inspect_rows(make_trainer(train_dataset=rows), [0, 1]).groups
    assert (len(without.hybrids), len(without.on_policy)) == (0, 4)
    assert (len(with_one.hybrids), len(with_one.on_policy)) == (1, 3)


def test_masked_truncated_completions_are_shown_without_selected_tokens(make_trainer):
    trainer = make_trainer(mask_truncated_completions=True, generation_kwargs={"min_new_tokens": 56})
    (rollout,) = all_hybrids(inspect_rows(trainer, [0]))
    assert len(rollout.prefix) + len(rollout.continuation) == 56
    assert rollout.num_selected == 0


def test_problems_that_need_a_failure_first_are_attempted_before_they_are_shown(make_trainer):
    trainer = make_trainer(prefix_prompts="failed", prefix_success_reward=2.0)
    assert len(all_hybrids(inspect_rows(trainer, [0]))) == 1


@pytest.mark.parametrize(
    ("row", "at_step", "named"),
    [(8, None, "no row 8.* 8 rows"), (-1, None, "no row -1.* 8 rows"), (0, 101, "no step 101.*100 steps")],
)
def test_a_row_outside_the_dataset_or_a_step_after_the_end_is_refused(make_trainer, row, at_step, named):
    with pytest.raises(ValueError, match=named):
        inspect_rows(make_trainer(), [0, row], at_step)


def test_rows_of_a_streaming_dataset_come_in_the_requested_order():
    dataset = lab.load_dataset("train", 8)
    assert pick_rows(dataset.to_iterable_dataset(), [5, 2]) == [dataset[5], dataset[2]]
    with pytest.raises(ValueError, match="8 rows"):
        pick_rows(dataset.to_iterable_dataset(), [9])


@pytest.fixture(scope="module")
def bytes_alone(byte_tokenizer) -> PreTrainedTokenizerFast:
    return byte_tokenizer(use_regex=False)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_a_character_of_several_tokens_is_shown_once_at_the_last_one(bytes_alone, text):
    ids = bytes_alone(text)["input_ids"]
    texts = token_texts(bytes_alone, ids)
    assert len(texts) == len(ids) == len(text.encode())
    assert "".join(texts) == text
    assert [shown for shown in texts if shown] == list(text)


def test_the_space_before_a_word_is_shown_although_a_lone_word_is_decoded_without_it():
    words = Tokenizer(models.WordLevel({"▁one": 0, "▁two": 1, "?": 2}, unk_token="?"))
    words.decoder = decoders.Metaspace()
    assert token_texts(PreTrainedTokenizerFast(tokenizer_object=words), [1, 0], before=[0]) == [" two", " one"]


@pytest.mark.parametrize("before", [[], list(b"x" * 20)])
def test_texts_exclude_the_tokens_before(bytes_alone, before):
    assert token_texts(bytes_alone, bytes_alone("a b")["input_ids"], before) == ["a", " ", "b"]
