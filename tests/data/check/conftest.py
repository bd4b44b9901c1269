"""Rows to check, a verifier that compares texts, and a tokenizer of bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from prefix_rft_trl.data.check import Columns, Report, check_dataset
from prefix_rft_trl.rewards.verification.equivalence import Verdict


class ByText:
    """Compares texts; a gold with `?` is unreadable, and one with `...` is read in part."""

    def verify(self, pairs: Sequence[tuple[str | None, tuple[str, ...]]], progress=None) -> list[Verdict]:
        return [self._verdict(answer, golds) for answer, golds in pairs]

    def unreadable(self, golds: Sequence[tuple[str, ...]], progress=None) -> list[bool]:
        return ["?" in "".join(row) for row in golds]

    def read_in_part(self, golds: Sequence[tuple[str, ...]], progress=None) -> list[bool]:
        return ["..." in "".join(row) for row in golds]

    def _verdict(self, answer: str | None, golds: tuple[str, ...]) -> Verdict:
        if answer == "slow":
            return Verdict.TIMEOUT
        return Verdict.EQUAL if answer in golds else Verdict.DIFFERENT


@pytest.fixture
def check() -> Callable[..., Report]:
    """Checks rows, by default of all three columns."""

    def run(rows: list[dict[str, Any]], columns: Columns | None = None, **options: Any) -> Report:
        return check_dataset(Dataset.from_list(rows), columns or Columns(), ByText(), **options)

    return run


@pytest.fixture
def clean_row() -> Callable[..., dict[str, Any]]:
    """A row without a fault, with the given parts replaced."""

    def row(number: int, **replaced: Any) -> dict[str, Any]:
        parts = {
            "prompt": f"Tom has {number} apples and eats one. How many are left?",
            "completion": f"He eats one of {number}, {number}-1={number - 1}, so \\boxed{{{number - 1}}} are left.",
            "solution": str(number - 1),
        }
        return {**parts, **replaced}

    return row


@pytest.fixture
def bytes_tokenizer(text_model) -> Callable[..., PreTrainedTokenizerBase]:
    """A tokenizer whose tokens are the bytes of a text, with a chat template or without."""

    def make(chat_template: str | None = None) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(text_model, chat_template=chat_template)

    return make
