"""Measurements of a model that calls tools go through the tool loop of its trainer."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prefix_rft_trl import lab
from prefix_rft_trl.evaluation.benchmark import HeldOutSplit
from prefix_rft_trl.evaluation.conversations_with_tools import sample_conversations
from prefix_rft_trl.evaluation.during_training import measure_held_out, text_tokenizer
from prefix_rft_trl.evaluation.sampling import Sampling
from prefix_rft_trl.lab.agent.calculator import calculate
from prefix_rft_trl.lab.agent.conversations import sample_conversations as draw


@pytest.fixture(scope="module")
def calling_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's base model after a few steps on conversations with calls: it calls the tool in most of its answers."""
    source, folder = lab.base_model_path("agent"), tmp_path_factory.mktemp("calling_model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    optimizer, rng = torch.optim.AdamW(model.parameters(), lr=3e-4), random.Random(0)
    for _ in range(10):
        model(**draw(rng, tokenizer, 1.0, 24)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def trainer(make_trainer_in: Any, calling_model: Path, tmp_path: Path) -> Any:
    return make_trainer_in(
        tmp_path, model=str(calling_model), train_dataset=lab.load_dataset("train", 16, level="agent"),
        reward_funcs=lab.exact_answer_reward, others={"tools": [calculate]}, max_completion_length=30,
    )  # fmt: skip


def held_out(number: int, max_new_tokens: int, trainer: Any) -> HeldOutSplit:
    rows = lab.load_dataset("test", number, level="agent")
    sampling = Sampling(max_new_tokens=max_new_tokens, batch_size=32)
    return HeldOutSplit("test", rows, lab.exact_answer_reward, sampling).encoded(text_tokenizer(trainer))


def test_accuracy_is_that_of_conversations_whose_calls_are_executed(trainer: Any) -> None:
    split = held_out(48, 56, trainer)
    trainer.model.train()
    state = torch.get_rng_state()
    found = measure_held_out(trainer, split)
    assert found["accuracy"] > 0.3
    assert found == measure_held_out(trainer, split)
    assert torch.equal(torch.get_rng_state(), state)
    assert trainer.model.training
    assert trainer.max_completion_length == 30
    assert not any(trainer._metrics["eval"].values())


def test_a_conversation_is_what_the_template_writes_of_its_messages(trainer: Any) -> None:
    rows, tokenizer = list(lab.load_dataset("test", 24, level="agent")), trainer.processing_class
    answers = sample_conversations(trainer, rows, Sampling(max_new_tokens=56), seed=1)
    called = [answer for answer in answers if len(answer.messages) == 5]
    assert len(called) > 5
    for row, answer in zip(rows, answers, strict=True):
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template([*row["prompt"], *answer.messages], return_dict=False)
        assert prompt + answer.ids == whole or answer.is_truncated
        texts = re.findall(r"<tool>(.*?<eos><assistant>)", tokenizer.decode(answer.ids))
        assert answer.tool_tokens == sum(len(text.split("<eos>")[0]) + 3 for text in texts)
        for call, result in zip(answer.messages[::2], answer.messages[1::2], strict=False):
            (function,) = (made["function"] for made in call["tool_calls"])
            with_error = {"error": "not an operation on two integers"}
            assert result["content"] in (str(eval(function["arguments"]["expression"])), str(with_error))


def test_the_budget_of_a_measurement_holds_for_the_whole_conversation(trainer: Any) -> None:
    rows = list(lab.load_dataset("test", 24, level="agent"))
    answers = sample_conversations(trainer, rows, Sampling(max_new_tokens=20), seed=1)
    assert max(len(answer.ids) for answer in answers) <= 20
    assert any(answer.is_truncated for answer in answers)
