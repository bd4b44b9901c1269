import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.inspection.records import HybridRollout, Inspection, Token
from prefix_rft_trl.inspection.groups import inspect_rows, pick_rows


ROWS = [3, 1, 6]


def text_of(tokens: tuple[Token, ...]) -> str:
    return "".join(token.text for token in tokens)


def hybrids_of(inspection: Inspection) -> list[HybridRollout]:
    return [rollout for group in inspection.groups for rollout in group.hybrids]


def read_by_hand(base_model: str, prompt: str, tokens: tuple[Token, ...], temperature: float) -> tuple:
    """Entropies and probabilities of tokens after a prompt, from the logits of the model itself."""
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
def test_figures_of_a_token_are_those_of_the_model_after_the_text_before_it(make_trainer, base_model, temperature):
    inspection = inspect_rows(make_trainer(temperature=temperature), ROWS)
    for group in inspection.groups:
        (rollout,) = group.hybrids
        for tokens in (rollout.prefix + rollout.continuation, rollout.prefix + rollout.rest):
            entropies, probabilities = read_by_hand(base_model, group.prompt, tokens, temperature)
            torch.testing.assert_close(
                torch.tensor([token.entropy for token in tokens]).double(), entropies, atol=1e-4, rtol=1e-4
            )
            torch.testing.assert_close(
                torch.tensor([token.probability for token in tokens]).double(), probabilities, atol=1e-4, rtol=1e-4
            )


def test_kept_tokens_are_the_most_uncertain_fifth_of_all_prefixes_on_the_page(make_trainer, base_model):
    inspection = inspect_rows(make_trainer(), ROWS)
    entropies = torch.cat(
        [
            read_by_hand(base_model, group.prompt, rollout.prefix, 1.0)[0]
            for group in inspection.groups
            for rollout in group.hybrids
        ]
    )
    by_hand = entropies >= entropies.quantile(0.8)
    kept = [token.selected for rollout in hybrids_of(inspection) for token in rollout.prefix]
    assert kept == by_hand.tolist()
    assert 0 < sum(kept) < len(kept)
    assert not any(token.selected for rollout in hybrids_of(inspection) for token in rollout.continuation + rollout.rest)


def test_rewards_and_advantages_are_those_of_the_texts_on_the_page(make_trainer):
    differ = 0
    for group in inspect_rows(make_trainer(), ROWS).groups:
        texts = [text_of(rollout.prefix + rollout.continuation).removesuffix("<eos>") for rollout in group.hybrids]
        texts += [rollout.text for rollout in group.on_policy]
        rewards = [sum(map(ord, text)) % 11 / 10 for text in texts]
        mean = sum(rewards) / len(rewards)
        shown = [*group.hybrids, *group.on_policy]
        assert len(shown) == 4
        assert [rollout.reward for rollout in shown] == pytest.approx(rewards)
        assert [rollout.advantage for rollout in shown] == pytest.approx(
            [reward - mean for reward in rewards], abs=1e-6
        )
        assert [rollout.prefix_advantage for rollout in group.hybrids] == pytest.approx([rewards[0] - mean], abs=1e-6)
        assert group.mean_reward == pytest.approx(mean)
        differ += len(set(rewards)) > 1
    assert differ


def test_prefix_and_continuation_have_the_advantages_of_the_chosen_estimator(make_trainer):
    (group,) = inspect_rows(make_trainer(prefix_advantage="dr_grpo_prefix"), [0]).groups
    (rollout,) = group.hybrids
    baseline = sum(other.reward for other in group.on_policy) / len(group.on_policy)
    assert rollout.prefix_advantage == pytest.approx(rollout.reward - baseline, abs=1e-6)
    assert rollout.advantage == pytest.approx(rollout.reward, abs=1e-6)


def test_prefix_and_rest_are_the_demonstration_of_the_row_that_was_asked_for(make_trainer):
    dataset = lab.load_dataset("train", 8)
    inspection = inspect_rows(make_trainer(), ROWS)
    assert [group.row for group in inspection.groups] == ROWS
    for group in inspection.groups:
        assert group.prompt.endswith(dataset[group.row]["prompt"])
        for rollout in group.hybrids:
            assert text_of(rollout.prefix + rollout.rest) == dataset[group.row]["completion"]


@pytest.mark.parametrize(("at_step", "low"), [(0, 0.95), (None, 0.5), (100, 0.05)])
def test_prefixes_are_as_long_as_the_schedule_says_at_that_step(make_trainer, at_step, low):
    trainer = make_trainer(num_prefix_generations=4)
    for rollout in hybrids_of(inspect_rows(trainer, ROWS, at_step)):
        whole = len(rollout.prefix) + len(rollout.rest)
        assert math.floor(low * whole) <= len(rollout.prefix) <= math.floor(0.95 * whole)
    assert trainer.state.global_step == (50 if at_step is None else at_step)


def test_the_middle_of_the_decay_is_not_that_of_the_run_where_they_differ(make_trainer):
    trainer = make_trainer(prefix_ratio_decay_steps=20)
    inspect_rows(trainer, [0])
    assert trainer.state.global_step == 10


def test_a_run_that_counts_epochs_has_a_middle(make_trainer):
    trainer = make_trainer(max_steps=-1, num_train_epochs=10)
    inspect_rows(trainer, [0])
    assert (trainer.state.global_step, trainer.state.max_steps) == (20, 40)  # 2 prompts of 8 a step


def test_a_prefix_that_is_only_context_has_no_kept_token(make_trainer):
    assert [rollout.num_selected for rollout in hybrids_of(inspect_rows(make_trainer(prefix_selection="none"), [0]))] == [0]


def test_randomly_kept_tokens_are_a_fifth_whatever_their_entropy(make_trainer):
    rollouts = hybrids_of(inspect_rows(make_trainer(prefix_selection="random", num_prefix_generations=4), ROWS))
    tokens = [token for rollout in rollouts for token in rollout.prefix]
    kept = [token.entropy for token in tokens if token.selected]
    assert len(kept) == pytest.approx(0.2 * len(tokens), abs=1)
    assert min(kept) < sorted(token.entropy for token in tokens)[len(tokens) // 2]


def test_prefixes_that_are_imitated_whatever_the_reward_show_no_advantage(make_trainer):
    (rollout,) = hybrids_of(inspect_rows(make_trainer(prefix_loss_type="cross_entropy"), [0]))
    assert rollout.prefix_advantage is None


def test_a_demonstration_that_is_given_whole_has_no_continuation_and_no_rest(make_trainer):
    (rollout,) = hybrids_of(inspect_rows(make_trainer(prefix_ratio_schedule="whole"), [0]))
    assert text_of(rollout.prefix) == lab.load_dataset("train", 1)["completion"][0] + "<eos>"
    assert rollout.continuation == rollout.rest == ()


def test_a_row_without_a_demonstration_shows_its_on_policy_rollouts(make_trainer):
    rows = lab.load_dataset("train", 8)
    rows = rows.map(lambda row, place: {"completion": row["completion"] if place else None}, with_indices=True)
    without, with_one = inspect_rows(make_trainer(rows), [0, 1]).groups
    assert (len(without.hybrids), len(without.on_policy)) == (0, 4)
    assert (len(with_one.hybrids), len(with_one.on_policy)) == (1, 3)


def test_completions_that_are_cut_off_and_masked_are_shown_but_keep_no_token(make_trainer):
    trainer = make_trainer(mask_truncated_completions=True, generation_kwargs={"min_new_tokens": 56})
    (rollout,) = hybrids_of(inspect_rows(trainer, [0]))
    assert len(rollout.prefix) + len(rollout.continuation) == 56
    assert rollout.num_selected == 0


def test_problems_that_get_a_prefix_after_a_failure_are_tried_before_they_are_shown(make_trainer):
    trainer = make_trainer(prefix_prompts="failed", prefix_success_reward=2.0)
    assert len(hybrids_of(inspect_rows(trainer, [0]))) == 1


@pytest.mark.parametrize("row", [8, -1])
def test_a_row_that_is_not_in_the_dataset_is_refused_with_the_number_of_rows(make_trainer, row):
    with pytest.raises(ValueError, match=f"no row {row}.* 8 rows"):
        inspect_rows(make_trainer(), [0, row])


def test_a_step_after_the_end_of_the_run_is_refused(make_trainer):
    with pytest.raises(ValueError, match=r"no step 101.*100 steps"):
        inspect_rows(make_trainer(), [0], at_step=101)


def test_rows_of_a_streaming_dataset_are_found_in_their_order():
    dataset = lab.load_dataset("train", 8)
    assert [row["prompt"] for row in pick_rows(dataset.to_iterable_dataset(), [5, 2])] == [
        dataset[5]["prompt"],
        dataset[2]["prompt"],
    ]
    with pytest.raises(ValueError, match="8 rows"):
        pick_rows(dataset.to_iterable_dataset(), [9])
