"""A stand-in for models: it gives the answers that a test chooses, in tokens of the byte model `text_model`."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from prefix_rft_trl.evaluation.engines import Engine
from prefix_rft_trl.evaluation.sampling import Loaded, Sampling


# From a prompt, and how many answers it has had before: the text, and whether it ends before the budget does.
AnswerOf = Callable[[str, int], tuple[str, bool]]


class StandIn:
    """A sampler. It counts the prompts that it was asked."""

    def __init__(self, tokenizer: Any, answer_of: AnswerOf):
        self.tokenizer, self.answer_of = tokenizer, answer_of
        self.asked: Counter[str] = Counter()

    def __call__(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> list[list[int]]:
        return [self._answer(self.tokenizer.decode(prompt)) for prompt in prompts]

    def with_likelihoods(self, prompts: list[list[int]], sampling: Sampling, seeds: list[int]) -> Any:
        """Longer answers are the more likely ones."""
        return [(ids, -1 / len(ids)) for ids in self(prompts, sampling, seeds)]

    def _answer(self, prompt: str) -> list[int]:
        text, ends = self.answer_of(prompt, self.asked[prompt])
        self.asked[prompt] += 1
        return self.tokenizer(text)["input_ids"] + [self.tokenizer.eos_token_id] * ends


@pytest.fixture
def answer_by(monkeypatch, text_model) -> Callable[[AnswerOf], StandIn]:
    """Has every model answer as the test says."""

    def patch(answer_of: AnswerOf) -> StandIn:
        tokenizer = AutoTokenizer.from_pretrained(text_model)
        sampler = StandIn(tokenizer, answer_of)
        monkeypatch.setattr(Engine, "load", lambda *given: Loaded(sampler, tokenizer, [tokenizer.eos_token_id]))
        return sampler

    return patch


@pytest.fixture
def no_model_is_loaded(monkeypatch) -> None:
    monkeypatch.setattr(Engine, "load", lambda *given: pytest.fail("a model is loaded"))


@pytest.fixture(scope="session")
def samples_in() -> Callable[[Path], list[dict[str, Any]]]:
    """All samples in a folder, in order."""

    def read(folder: Path) -> list[dict[str, Any]]:
        rows = [row for file in folder.glob("samples-*.parquet") for row in pq.read_table(file).to_pylist()]
        return sorted(rows, key=lambda row: (row["problem"], row["sample"]))

    return read


@pytest.fixture
def write_jsonl(tmp_path) -> Callable[..., Path]:
    def write(*rows: Any, name: str = "mine") -> Path:
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return file

    return write
