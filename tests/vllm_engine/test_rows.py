"""Requests to a colocated engine, token by token, and what becomes of its answers."""

import copy
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from datasets import Dataset

from prefix_rft_trl.lab.task import sample_prompt, worked_solution


BUDGET = 24
BLOCK = 32  # tokens that the engine keeps or forgets together


@dataclass
class Row:
    """One rollout: what it was made of, what the engine was asked and said, and what is trained on."""

    prompt_ids: list[int]
    prefix_ids: list[int]
    completion_ids: list[int]
    sampling_logps: list[float]
    asked_ids: list[int]
    asked: Any
    answer: Any

    @property
    def said(self) -> Any:
        return self.answer.outputs[0]


@pytest.fixture(scope="module")
def rows(make_trainer, record) -> list[Row]:
    """Of two steps, in groups of 4 with 2 hybrid ones. No row ends before its budget is used up."""
    rng = random.Random(0)
    prompts = [sample_prompt(rng, operands) for operands in (18, 20, 19, 22) * 2]
    rows = [{"prompt": text, "completion": worked_solution(text), "solution": "0"} for text in prompts]
    trainer = make_trainer(
        train_dataset=Dataset.from_list(rows),
        max_completion_length=BUDGET,
        max_steps=2,
        generation_kwargs={"ignore_eos": True, "bad_words": ["<eos>"]},
    )
    asked: list[Any] = []
    generate = trainer.vllm_generation.llm.generate

    def generate_and_keep(prompts: list[Any], *, sampling_params: Any, **others: Any) -> list[Any]:
        answers = generate(prompts, sampling_params=copy.deepcopy(sampling_params), **others)
        asked.extend(zip(prompts, sampling_params, answers, strict=True))
        return answers

    trainer.vllm_generation.llm.generate = generate_and_keep
    generations = record(trainer)
    trainer.train()
    made = [row for generation in generations for row in rows_of(trainer.processing_class, generation)]
    return [
        Row(**row, asked_ids=prompt["prompt_token_ids"], asked=params, answer=answer)
        for row, (prompt, params, answer) in zip(made, asked, strict=True)
    ]


def rows_of(tokenizer: Any, generation: Any) -> Iterator[dict[str, Any]]:
    """A token is a character in the lab, so that a prefix can be cut from the text."""
    logps, masks = (generation.outputs[name] for name in ("sampling_per_token_logps", "completion_mask"))
    for row, example in enumerate(generation.inputs):
        prefix = example["completion"][: generation.prefix_lengths[row]]
        yield {
            "prompt_ids": tokenizer(example["prompt"])["input_ids"],
            "prefix_ids": tokenizer(prefix)["input_ids"] if prefix else [],
            "completion_ids": generation.completion_ids[row],
            "sampling_logps": logps[row][masks[row].bool()].tolist(),
        }


def test_each_row_has_its_own_prefix_and_continuation(rows):
    assert len(rows) == 32
    assert len({len(row.prefix_ids) for row in rows}) > 6  # or the rows would look alike
    for place, row in enumerate(rows):
        assert bool(row.prefix_ids) == (place % 4 < 2)
        assert row.asked_ids == row.prompt_ids + row.prefix_ids
        assert row.completion_ids == row.prefix_ids + list(row.said.token_ids)


def test_no_row_decodes_beyond_its_budget(rows):
    for row in rows:
        assert row.asked.max_tokens == len(row.said.token_ids) == BUDGET - len(row.prefix_ids)


def test_log_probs_are_the_engines_and_unknown_for_the_prefix(rows):
    for row in rows:
        length = len(row.prefix_ids)
        assert all(map(math.isnan, row.sampling_logps[:length]))
        of_tokens = zip(row.said.logprobs, row.said.token_ids, strict=True)
        sampled = [of_token[token].logprob for of_token, token in of_tokens]
        assert row.sampling_logps[length:] == pytest.approx(sampled)


def test_rows_of_a_group_share_the_cache_of_their_prompt(rows):
    for first in range(0, len(rows), 4):
        cached = [row.answer.num_cached_tokens for row in rows[first : first + 4]]
        assert cached[0] == 0
        assert min(cached[1:]) >= BLOCK
