"""Lengths, budgets and their summary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefix_rft_trl.data.check.lengths import Budgets, summarize
from prefix_rft_trl.data.check.measures import MeasuredDemonstration, TokenMeasure


TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
TEMPLATE = TURNS + "{% if add_generation_prompt %}[assistant]{% endif %}"
CLOSES_THINKING = TEMPLATE.replace("[assistant]", "[assistant]<think></think>")


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=60))
def test_the_histogram_counts_every_length_once_in_few_bars(lengths):
    found = summarize(lengths)
    assert len(found.bins) <= 12
    assert [number for *_, number in found.bins] == [
        sum(first <= length <= last for length in lengths) for first, last, _ in found.bins
    ]
    assert sum(number for *_, number in found.bins) == found.number == len(lengths)
    widths = {last - first + 1 for first, last, _ in found.bins}
    assert len(widths) == 1
    assert str(widths.pop()).rstrip("0") in ("1", "2", "5")


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=60))
def test_summary_values_are_lengths_that_occur(lengths):
    found = summarize(lengths)
    assert (found.minimum, found.maximum) == (min(lengths), max(lengths))
    ordered = sorted(lengths)
    assert found.median in (ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2])
    assert found.percentile_95 in lengths
    assert np.mean(np.array(lengths) <= found.percentile_95) >= 0.95 - 1 / len(lengths)


def test_lengths_are_in_characters_without_a_tokenizer(check, clean_row):
    report = check([clean_row(2, completion=["#### 1"]), clean_row(3, completion=["#### 2", "x" * 500 + "#### 2"])])
    assert report.unit == "characters"
    assert report.lengths["demonstrations"].number == 3
    assert report.lengths["demonstrations"].maximum == 506
    assert report.lengths["prompts"].maximum == len(clean_row(3)["prompt"])


@pytest.fixture
def rows(clean_row):
    return [
        clean_row(2, prompt="p" * 30, completion=["d" * 40 + "#### 1"]),
        clean_row(3, prompt="p" * 31, completion=["d" * 45 + "#### 2"]),
        clean_row(4, prompt="q", completion=["#### 3", "d" * 50 + "#### 3"]),
    ]


def test_a_budget_is_exact_to_the_token(check, rows, bytes_tokenizer):
    report = check(rows, measure=TokenMeasure(bytes_tokenizer()), budgets=Budgets(prompt=30, completion=51))
    assert report.rows_with("prompt_too_long") == [1]
    assert report.rows_with("demonstration_too_long") == [2]
    assert report.findings["prompt_too_long"][0].note == "31 tokens, 30 fit"
    assert report.findings["demonstration_too_long"][0].note == "demonstration 2 of 2 has 56 tokens, 51 fit"
    assert report.exit_code == 1


def test_prompt_and_a_complete_completion_must_fit_the_context(check, rows, bytes_tokenizer):
    report = check(rows, measure=TokenMeasure(bytes_tokenizer()), budgets=Budgets(completion=100, context=130))
    assert report.rows_with("prompt_too_long") == [1]


def test_prompts_are_measured_as_the_trainer_makes_them(bytes_tokenizer):
    measure = TokenMeasure(bytes_tokenizer(TEMPLATE), "Think.", conversational=True)
    assert measure.prompt("hi") == len("[user]hi\nThink.[assistant]")
    assert measure.prompt([{"role": "user", "content": "hi"}]) == len("[user]hi[assistant]")
    assert TokenMeasure(bytes_tokenizer(TEMPLATE), "Think.").prompt("hi") == len("hi\nThink.")


def test_a_demonstration_is_counted_up_to_its_end_of_sequence(bytes_tokenizer):
    message = {"role": "assistant", "content": "#### 1<end>after"}
    assert TokenMeasure(bytes_tokenizer()).demonstration("p", message) == MeasuredDemonstration(
        len("#### 1"), is_cut=True
    )


def test_thinking_that_the_template_has_no_place_for_is_found(check, clean_row, bytes_tokenizer):
    rows = [
        clean_row(number, prompt=[{"role": "user", "content": f"{number}-1?"}], completion=completion)
        for number, completion in [(2, "#### 1"), (3, "<think>hm</think>#### 2")]
    ]
    assert check(rows, measure=TokenMeasure(bytes_tokenizer(TEMPLATE))).exit_code == 0
    report = check(rows, measure=TokenMeasure(bytes_tokenizer(CLOSES_THINKING)))
    assert {kind: report.rows_with(kind) for kind in report.problems} == {"no_place_for_thinking": [1]}


def test_messages_without_a_chat_template_are_found(check, clean_row, bytes_tokenizer):
    rows = [clean_row(2, prompt=[{"role": "user", "content": "hello"}])]
    report = check(rows, measure=TokenMeasure(bytes_tokenizer()))
    assert {kind: report.rows_with(kind) for kind in report.problems} == {"prompt_refused": [0]}
