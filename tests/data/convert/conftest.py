"""Datasets to convert, and a tokenizer of one token per word."""

import pytest
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast


@pytest.fixture
def word_tokenizer():
    words = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")


@pytest.fixture
def sums() -> Dataset:
    """Two hundred problems with a demonstration each."""
    return Dataset.from_list(
        [
            {
                "prompt": f"{row}+{row}?",
                "completion": f"{row}+{row} = {2 * row}\n\\boxed{{{2 * row}}}",
                "solution": 2 * row,
            }
            for row in range(200)
        ]
    )
