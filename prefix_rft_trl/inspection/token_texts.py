"""What each token adds to a text, also where one alone is no text: half a character, or a word whose space is lost."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any


_CONTEXT = 8  # tokens; the longest character takes four


def token_texts(tokenizer: Any, ids: Sequence[int], before: Sequence[int] = ()) -> list[str]:
    """The text that each token adds to those before it; together they are the whole text.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the policy's.
        ids (`Sequence[int]`): the tokens.
        before (`Sequence[int]`): tokens that precede them, such as those of the prompt.

    Returns:
        `list[str]`: one for each of `ids`; empty for a token that only begins a character.
    """
    tokens, first = [*before, *ids], len(before)
    return [
        _added(tokenizer, tokens[max(place - _CONTEXT, 0) : place], tokens[place])
        for place in range(first, len(tokens))
    ]


def _added(tokenizer: Any, context: list[int], token: int) -> str:
    before, after = (
        tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for ids in (context, [*context, token])
    )
    unfinished = after.endswith("\N{REPLACEMENT CHARACTER}")
    agree = (ours == theirs for ours, theirs in zip(before, after, strict=False))
    return "" if unfinished else after[sum(takewhile(bool, agree)) :]
