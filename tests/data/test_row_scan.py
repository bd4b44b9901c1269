"""One pass over the rows of a dataset: what it says without encoding them all is what encoding them all says."""

import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prefix_rft_trl.data.row_encoder import RowEncoder
from prefix_rft_trl.data.row_scan import ROWS_OF_STREAM, scan_rows
from prefix_rft_trl.rewards.answers import last_statement


LONG = "so the sum of both is the number that was asked for"
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


def rows_of(completions, prompts=None):
    prompts = prompts or [f"{row}+1=" for row in range(len(completions))]
    return Dataset.from_dict({"prompt": prompts, "completion": completions, "solution": ["42"] * len(completions)})


@pytest.fixture(scope="module")
def encoder_of(byte_tokenizer):
    """An encoder of a tokenizer that merges what is frequent; with `excludes` a prefix ends before its answer."""

    def make(excludes: bool = False, hint_template: str | None = None, **others) -> RowEncoder:
        tokenizer = byte_tokenizer([LONG] * 4, ["<end>"], pad_token="<end>", eos_token="<end>", **others)

        def longest(ids, answer):
            start = last_statement(tokenizer.decode(ids), answer) if excludes else None
            drawn = ids[:-1]
            while start is not None and drawn and len(tokenizer.decode(drawn)) > start:
                drawn = drawn[:-1]
            return drawn

        return RowEncoder(tokenizer, [tokenizer.eos_token_id], None, longest, hint_template)

    return make


@pytest.fixture(scope="module")
def encoders(encoder_of):
    return {excludes: encoder_of(excludes) for excludes in (False, True)}


parts = st.sampled_from(["<end>", "42", "#### 42", LONG, " so", " ", "4", r"\boxed{42}", "é", "\n"])
completions = st.lists(st.lists(parts, max_size=4).map("".join), min_size=1, max_size=8)


@given(completions, st.booleans())
def test_rows_are_counted_as_if_each_was_encoded(encoders, texts, excludes):
    encoder = encoders[excludes]
    scan = scan_rows(rows_of(texts), "completion", encoder, answer_column="solution", excludes_answer=excludes)
    expected = {"no_demonstration": [], "no_prefix": [], "demonstration_cut": [], "demonstration_is_prompt": []}
    for row, text in enumerate(texts):
        if not text.strip():
            expected["no_demonstration"].append(row)
            continue
        ids, is_cut = encoder.demonstration(f"{row}+1=", {"role": "assistant", "content": text})
        if is_cut:
            expected["demonstration_cut"].append(row)
        if not encoder.longest_prefix(ids, "42"):
            expected["no_prefix"].append(row)
    found = {kind: (count.rows, count.first) for kind, count in scan.counts.items()}
    assert found == {kind: (len(rows), rows[0]) for kind, rows in expected.items() if rows}
    assert (scan.rows, scan.is_complete) == (len(texts), True)


def test_few_rows_are_encoded(encoder_of, monkeypatch):
    encoder, encoded = encoder_of(), []
    real = encoder.demonstration
    monkeypatch.setattr(encoder, "demonstration", lambda *row: encoded.append(row[0]) or real(*row))
    scan_rows(rows_of([LONG + LONG] * 300 + ["4", "<end>"]), "completion", encoder)
    assert encoded == ["0+1=", "300+1=", "301+1="]


def test_a_text_of_unknown_words_may_be_a_single_token():
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "so": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unk>")
    scan = scan_rows(rows_of(["incomprehensibility", "so so"]), "completion", RowEncoder(tokenizer, [1]))
    assert (scan.number("no_prefix"), scan.counts["no_prefix"].first) == (1, 0)


def test_a_form_that_the_template_refuses_is_counted_in_all_its_rows(encoder_of):
    encoder = encoder_of(chat_template=TEMPLATE)
    user, system = {"role": "user", "content": "1+1="}, {"role": "system", "content": "Think."}
    scan = scan_rows(rows_of([LONG] * 4, [[user], [system, user], [user], [system, user]]), "completion", encoder)
    assert scan.counts["prompt_refused"].rows == 2
    assert scan.counts["prompt_refused"].first == 1
    assert "no system" in scan.counts["prompt_refused"].note


@pytest.mark.parametrize(("room", "too_long"), [(9, [0, 1]), (10, [1]), (11, []), (200, [])])
def test_a_prompt_is_too_long_to_the_token(encoder_of, room, too_long):
    scan = scan_rows(
        rows_of([LONG] * 2, ["7" * 10, "7" * 11]), "completion", encoder_of(), completion_budget=50, prompt_room=room
    )
    assert scan.number("prompt_too_long") == len(too_long)
    assert not too_long or scan.counts["prompt_too_long"].first == too_long[0]


@pytest.mark.parametrize(
    ("room", "found"),
    [
        (30, {}),
        (29, {"hint_too_long": 1}),
        (21, {"hint_too_long": 1}),
        (20, {"hint_too_long": 2}),
        (9, {"hint_too_long": 1, "hint_beyond_model": 1, "prompt_too_long": 2}),
    ],
)
def test_a_prompt_is_too_long_with_its_hint_to_the_token(encoder_of, room, found):
    rows = rows_of(["1" * 10, "1" * 19], ["7" * 10] * 2)  # with a template of 2: 10 + 2 + 9, and 10 + 2 + 18
    encoder = encoder_of(hint_template="{prompt}: {hint}")
    scan = scan_rows(rows, "completion", encoder, completion_budget=20, prompt_room=room)
    assert {kind: count.rows for kind, count in scan.counts.items()} == found


def test_lengths_are_of_an_even_sample(encoder_of):
    scan = scan_rows(rows_of(["a b c d e"] * 640), "completion", encoder_of(), completion_budget=5)
    assert scan.lengths == [9] * 64


def test_the_first_rows_of_a_stream_are_read():
    def rows():
        for row in range(ROWS_OF_STREAM + 1):
            yield {"prompt": f"{row}+1=", "completion": None if row % 4 else LONG}
        raise AssertionError("a further row was read")

    scan = scan_rows(IterableDataset.from_generator(rows), "completion")
    assert (scan.rows, scan.is_complete) == (1_000, False)
    assert (scan.number("no_demonstration"), scan.counts["no_demonstration"].first) == (750, 1)
