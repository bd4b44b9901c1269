"""The lab's agent task: its tool, its rows, the chat template of its model, and how seldom that model calls it."""

import random
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.chat_template_utils import (
    get_training_chat_template,
    is_chat_template_prefix_preserving,
    parse_response,
    supports_tool_calling,
)

from prefix_rft_trl import lab
from prefix_rft_trl.lab import pretrain
from prefix_rft_trl.lab.agent.calculator import calculate
from prefix_rft_trl.lab.agent.chat import chat_tokenizer
from prefix_rft_trl.lab.agent.conversations import sample_conversations
from prefix_rft_trl.method.trajectories import parse_trajectory


FIRST_CALL, REST, BARE = "probability of a first call", "of the rest of a demonstration", "of a right bare answer"
QUALITY = {FIRST_CALL: (0.0001, 0.002), REST: (0.85, 1.0), BARE: (0.05, 0.14)}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(lab.base_model_path("agent"))


@given(st.integers(-(10**9) + 1, 10**9 - 1), st.sampled_from("+-*"), st.integers(0, 10**9 - 1))
def test_the_calculator_calculates(left, operator, right):
    assert calculate(f"{left}{operator}{right}") == str(eval(f"{left}{operator}{right}"))


@pytest.mark.parametrize("expression", ["", "7*", "7**8", "7*8+1", "7 * 8", "a*b", "7/8", "9" * 99 + "*9", "\uff17*8"])
def test_the_calculator_refuses_anything_else(expression):
    with pytest.raises(ValueError, match="two integers"):
        calculate(expression)


def test_a_demonstration_calls_the_calculator_and_ends_with_the_answer():
    rows = lab.load_dataset("train", level="agent")
    for row in rows:
        problem = re.fullmatch(r"(\d)\*(\d)\+(\d\d)=", row["prompt"][0]["content"])
        first, second, last = parse_trajectory(row["completion"]).turns
        product = eval(f"{problem[1]}*{problem[2]}")
        assert first.calls[0]["function"]["arguments"] == {"expression": f"{problem[1]}*{problem[2]}"}
        assert second.calls[0]["function"]["arguments"] == {"expression": f"{product}+{problem[3]}"}
        for turn in (first, second):
            assert turn.result_texts == [calculate(turn.calls[0]["function"]["arguments"]["expression"])]
        assert last.message["content"] == f"#{row['solution']}" == f"#{eval(problem[0][:-1])}"
    others = lab.load_dataset("test", level="agent"), lab.load_dataset("demonstrations", level="agent")
    problems = {row["prompt"][0]["content"] for split in (rows, *others) for row in split}
    assert len(problems) == 3 * 512


def test_corrupted_demonstrations_have_results_that_the_calculator_does_not_give():
    rows = lab.load_dataset("train", 20, level="agent", corrupted_share=0.5, demonstrated_share=0.9)
    found = [row["completion"] for row in rows if row["completion"]]
    assert len(found) == 18
    wrong = [
        any(turn.result_texts != [calculate(**turn.calls[0]["function"]["arguments"])] for turn in turns[:-1])
        for turns in (parse_trajectory(completion).turns for completion in found)
    ]
    assert 7 <= sum(wrong) <= 10


def test_an_answer_is_in_the_last_message():
    right = [{"role": "assistant", "content": "#1"}, {"role": "tool", "content": "#2"}, {"content": "#91"}]
    wrong = [{"role": "assistant", "content": "#91"}, {"role": "tool", "content": "#91"}, {"content": "#9"}]
    assert lab.exact_answer_reward([right, wrong, "#91"], ["91"] * 3) == [1, 0, 1]


def test_the_template_is_what_the_tool_loop_of_trl_needs(tokenizer):
    assert supports_tool_calling(tokenizer)
    assert is_chat_template_prefix_preserving(tokenizer)
    assert get_training_chat_template(tokenizer) is None  # it needs no other
    row = lab.load_dataset("train", 1, level="agent")[0]
    messages = parse_trajectory(row["completion"]).messages
    for number in (0, 2, 4):
        before = [*row["prompt"], *messages[:number]]
        prefix = tokenizer.apply_chat_template(before, add_generation_prompt=True, return_dict=False)
        ids = tokenizer.apply_chat_template([*before, messages[number]], return_dict=False)
        assert ids[: len(prefix)] == prefix
        parsed = parse_response(tokenizer, ids[len(prefix) :], prefix=prefix, tools=[calculate])
        assert parsed == messages[number]


def test_the_tokenizer_of_the_package_is_that_of_the_code(tokenizer):
    made = chat_tokenizer()
    assert tokenizer.vocab == made.vocab
    assert (tokenizer.chat_template, tokenizer.response_template) == (made.chat_template, made.response_template)
    for row in lab.load_dataset("train", 20, level="agent"):
        messages = [*row["prompt"], *parse_trajectory(row["completion"]).messages]
        ids = tokenizer.apply_chat_template(messages, return_dict=False)
        assert ids == made.apply_chat_template(messages, return_dict=False)
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == tokenizer.apply_chat_template(messages, tokenize=False)


def test_labels_are_what_the_assistant_says(tokenizer):
    batch = sample_conversations(random.Random(0), tokenizer, 0.5, 40)
    starts = []
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        said = tokenizer.decode([token for token, label in zip(ids, labels, strict=True) if label != -100])
        turns = re.findall(r"<assistant>(.*?<eos>)", tokenizer.decode(ids))
        assert said in ("".join(turns), "".join(turns).removeprefix("<call>"))
        starts.append((turns[0].startswith("<call>"), said == "".join(turns)))
    assert set(starts) == {(True, True), (True, False), (False, True)}  # each bare answer, and some of the calls


def log_probabilities(model, tokenizer, prompts, answers):
    """Of the first token of each answer, and of the others; the messages of tools are given."""
    first, rest = [], []
    with torch.no_grad():
        for prompt, answer in zip(prompts, answers, strict=True):
            found = tokenizer.apply_chat_template(
                [*prompt, *answer], return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
            )
            ids, said = found["input_ids"][0], torch.as_tensor(found["assistant_masks"]).flatten().bool()[1:]
            logps = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None]).flatten()[said]
            first.append(logps[0])
            rest.append(logps[1:].sum())
    return torch.stack(first).exp().mean().item(), torch.stack(rest).exp().mean().item()


def test_the_base_model_can_call_and_hardly_ever_does(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(lab.base_model_path("agent"))
    rows = lab.load_dataset("test", 64, level="agent")
    prompts = list(rows["prompt"])
    worked = [parse_trajectory(completion).messages for completion in rows["completion"]]
    bare = [[{"role": "assistant", "content": f"#{answer}"}] for answer in rows["solution"]]
    call, rest = log_probabilities(model, tokenizer, prompts, worked)
    answer, right = log_probabilities(model, tokenizer, prompts, bare)
    found = {FIRST_CALL: call, REST: rest, BARE: answer * right}
    assert all(low <= found[name] <= high for name, (low, high) in QUALITY.items()), found


def test_pretraining_makes_a_model_with_the_template(tmp_path, monkeypatch):
    stages = [pretrain.PretrainingStage(15, 3e-3, share, 16) for share in (1.0, 0.0)]
    monkeypatch.setitem(pretrain.STAGES, "agent", stages)
    pretrain.main(["--output_dir", str(tmp_path), "--level", "agent"])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert supports_tool_calling(tokenizer)
    batch = sample_conversations(random.Random(1), tokenizer, 1.0, 32)
    with torch.no_grad():
        assert model(**batch).loss < 2.6  # 3.3 untrained
