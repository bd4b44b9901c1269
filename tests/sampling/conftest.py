"""The lab's model and tokenizer, which these tests decode with."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture(scope="module")
def model(base_model):
    return AutoModelForCausalLM.from_pretrained(base_model)


@pytest.fixture(scope="module")
def tokenizer(base_model):
    return AutoTokenizer.from_pretrained(base_model)
