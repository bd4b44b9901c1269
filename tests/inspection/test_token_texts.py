import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prefix_rft_trl.inspection.groups import token_texts


BYTES = {byte: place for place, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def a_token_a_byte() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(vocab=BYTES, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def a_token_a_word() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({"▁one": 0, "▁two": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_characters_of_several_tokens_are_shown_once_and_whole(text):
    tokenizer = a_token_a_byte()
    ids = tokenizer(text)["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids) == len(text.encode())
    assert "".join(texts) == text
    assert [shown for shown in texts if shown] == list(text)


def test_the_space_before_a_word_is_shown_though_a_word_alone_is_decoded_without_it():
    tokenizer = a_token_a_word()
    assert token_texts(tokenizer, [1, 0], before=[0]) == [" two", " one"]


@pytest.mark.parametrize("before", [[], list(b"x" * 20)])
def test_texts_belong_to_the_tokens_and_not_to_those_before(before):
    tokenizer = a_token_a_byte()
    ids = tokenizer("a b")["input_ids"]
    assert token_texts(tokenizer, ids, before) == ["a", " ", "b"]
