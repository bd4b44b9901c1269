"""Lengths in tokens, against the limits of a run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .rows import Message


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_WARNING_LENGTH = 10**30


def load_tokenizer(path: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, by name or folder, that counts long texts without a warning."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.model_max_length = NO_WARNING_LENGTH
    return tokenizer


def token_counts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[int]:
    """Number of tokens of each text, without special tokens at its ends."""
    if not texts:
        return []
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


def as_sampled(tokenizer: "PreTrainedTokenizerBase", prompt: str | list[Message]) -> str:
    """A prompt as text: messages in the chat template, or one after the other where the tokenizer has none."""
    if isinstance(prompt, str):
        return prompt
    if not tokenizer.chat_template:
        return "\n".join(message["content"] for message in prompt)
    return tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
